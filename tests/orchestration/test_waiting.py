"""A cluster that cannot serve a trial yet is waited for, not in silence; a wrong one is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import spaces

pytestmark = pytest.mark.cluster

HEAD = Path(__file__).parents[2] / "docker" / "scripts" / "ray-head.sh"
PROGRAMS = Path(sys.executable).parent
#: Of a Ray node, so that it may run beside another.
PORTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent", "metrics-export")


#: A cluster of one core; a line on standard input adds a node with three, the next one ends it. In
#: a process of its own: whether Ray asks for tokens is settled once a process.
CLUSTER = """
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
print(cluster.address, flush=True)
input()
cluster.add_node(num_cpus=3, wait=False)  # the run waits for it
input()
cluster.shutdown()
"""


def test_a_trial_that_fits_on_no_node_waits_for_one_and_says_so(tmp_path: Path) -> None:
    spaces.write(
        tmp_path / "wide.yaml",
        rows={"CNN": spaces.space()["rows"]["CNN"]},
        resources={"cpu": 3},
        seeds={"grid": [0], "final": [0]},
    )
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], env=spaces.environment(), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().strip()
        process = spaces.start(
            "run", "wide.yaml", folder=tmp_path, environ={"RAY_ADDRESS": address}
        )
        try:
            assert process.stdout is not None
            said = ""
            while "waiting for one to join" not in said:
                line = process.stdout.readline()
                assert line, process.communicate()
                said += line
            assert "a trial wants cpu 3, and no node has that (cpu 1)" in said
            print(file=cluster.stdin, flush=True)
            output, errors = process.communicate(timeout=spaces.PATIENCE)
            assert process.returncode == 0, output + errors
            assert "1/1 finished" in output
        finally:
            spaces.end_session(process)
        cluster.communicate("\n", timeout=spaces.PATIENCE)
    finally:
        spaces.end_session(cluster)


def test_a_cluster_that_is_not_there_or_not_ours_is_one_line(tmp_path: Path) -> None:
    port = spaces.free_port()
    address, free = f"127.0.0.1:{port}", {f"--{it}-port": spaces.free_port() for it in PORTS}
    done = spaces.forked(
        "run", "quickstart", folder=tmp_path, expect=2, environ={"RAY_ADDRESS": address}
    )
    assert done.stderr.splitlines()[-1].endswith(
        f"no Ray answers at {address} (Connection refused)"
    )

    settings = {"RAY_AUTH_TOKEN": "a" * 32, "RAY_PORT": str(port), "RAY_NUM_CPUS": "1"}
    settings |= {"RAY_DASHBOARD_PORT": str(spaces.free_port()), "RAY_NODE_IP": "127.0.0.1"}
    settings |= {"RAY_OBJECT_STORE_MEMORY": "100000000", "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    head = subprocess.Popen(
        [HEAD, *(str(word) for option in free.items() for word in option)],
        env=spaces.environment(**settings), text=True, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + spaces.PATIENCE
        while not _answers(port):
            assert time.monotonic() < deadline
            assert head.poll() is None
            time.sleep(0.5)
        for token in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 32}):
            done = spaces.forked(
                "run", "quickstart", folder=tmp_path, expect=2,
                environ={"RAY_ADDRESS": address, **token},
            )  # fmt: skip
            assert "is the cluster's token in RAY_AUTH_TOKEN" in done.stderr.splitlines()[-1]
            assert "Traceback" not in done.stderr
    finally:
        spaces.end_session(head)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
