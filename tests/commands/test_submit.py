"""Submitting to what is no cluster: said in one line, before anything is sent.

A real cluster is in tests/cluster.
"""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import spaces

pytestmark = pytest.mark.cluster


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a web server that is no job server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


def test_an_address_that_is_no_job_server_is_refused(stranger: str, tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    for address, said in (
        ("head:6379", "expected the job server, such as http://head:8265"),
        ("http://127.0.0.1:9", "Failed to connect"),
        (stranger, stranger),
    ):
        done = spaces.forked(
            "submit", "tiny.yaml", "--address", address,
            folder=tmp_path, expect=2, environ={"RAY_AUTH_TOKEN": "canary"},
        )  # fmt: skip
        assert done.stderr.startswith("equigrid: --address: ")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "canary" not in done.stdout + done.stderr


def test_a_search_space_is_checked_before_the_cluster_is_asked(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml", rows={})
    done = spaces.forked(
        "submit", "tiny.yaml", "--address", "http://127.0.0.1:9", folder=tmp_path, expect=2
    )
    assert done.stderr.startswith("equigrid: tiny.yaml:")
