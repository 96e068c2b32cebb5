"""Passwords and tokens of a run are nowhere afterwards: not in what it printed, tracked or kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
import spaces
from tracking_server import TrackingServer

pytestmark = pytest.mark.cluster

CANARY = "canary"
SECRETS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": f"{CANARY}-ray-token-0123456789",
    "MLFLOW_TRACKING_USERNAME": f"{CANARY}-user",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-password",
    "MLFLOW_TRACKING_TOKEN": f"{CANARY}-tracking-token",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-storage-key",
}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: Ray's sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="eqg"))
    yield folder
    shutil.rmtree(folder)


def holders(folder: Path) -> list[str]:
    """The files whose content or name has the canary."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and (CANARY.encode() in path.read_bytes() or CANARY in path.name):
            found.append(str(path.relative_to(folder)))
    return found


def test_no_secret_is_left_in_logs_records_tracking_or_a_bundle(
    tmp_path: Path, short: Path
) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    with TrackingServer(tmp_path / "mlflow") as server:
        environ = SECRETS | {
            "MLFLOW_TRACKING_URI": server.uri.replace("://", f"://me:{CANARY}-in-address@"),
            "RAY_TMPDIR": str(short),
        }
        printed = ""
        bundle = tmp_path / "tiny.equigrid"
        for command in ("run", "status", "tables", "verify", "export", "doctor"):
            options = ("-o", bundle) if command == "export" else ()
            # Ray is started by what is started as users start it.
            started = spaces.equigrid if command in ("run", "doctor") else spaces.forked
            done = started(
                command, "tiny.yaml", *options, folder=tmp_path, environ=environ, expect=None
            )
            printed += f"$ {command}\n{done.stdout}{done.stderr}"
            assert done.returncode == 0, printed
        server.kill()
        # What cannot be reached is named: without its password.
        spaces.write(tmp_path / "tiny.yaml", seeds={"grid": [0], "final": [0, 1, 2]})
        for command in (("status",), ("tables", "--from-mlflow")):
            done = spaces.forked(
                *command, "tiny.yaml", folder=tmp_path, environ=environ, expect=None
            )
            assert done.returncode
            assert f"port={server.port}" in done.stdout + done.stderr
            printed += done.stdout + done.stderr
    assert CANARY not in printed, printed
    with ZipFile(bundle) as content:
        content.extractall(tmp_path / "unpacked")
    assert list(short.rglob("raylet.out")), "Ray's logs lie elsewhere"
    assert holders(tmp_path) == []
    assert holders(short) == []
