"""Commands that only look: warm they import nothing heavy, and a server is asked one question."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import spaces
from tracking_server import TrackingServer

pytestmark = pytest.mark.cluster

HEAVY = ("torch", "mlflow", "ray", "pandas", "matplotlib")


def heavy_imports(folder: Path, *arguments: str, **environ: str) -> tuple[set[str], int]:
    """What a command imported of the heavy packages, and its exit code."""
    code = (
        f"import json, sys; sys.argv = ['equigrid', *{list(arguments)!r}]\n"
        "from equigrid.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code or 0\n"
        f"print(json.dumps([sorted(set({HEAVY!r}) & set(sys.modules)), code]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=spaces.environment(**environ), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    found, exit_code = json.loads(done.stdout.splitlines()[-1])
    return set(found), exit_code


@pytest.mark.parametrize(
    "arguments", [["status"], ["tables"], ["plan"], ["show", "Ours/plain"]], ids=lambda it: it[0]
)
def test_what_only_looks_imports_nothing_heavy(
    arguments: list[str], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(spaces.undisturbed(tmp_path_factory), folder)
    command = [arguments[0], "tiny.yaml", *arguments[1:]]
    # The run left the caches behind.
    assert heavy_imports(folder, *command) == (set(), 0)
    if command[0] != "status":
        return  # they read the same caches
    # A change of the store is seen at once; a damaged cache is made anew.
    os.utime(folder / "workspace" / "mlflow.db")
    assert "mlflow" in heavy_imports(folder, *command)[0]
    for cache in (folder / "workspace" / "results").iterdir():
        cache.write_text('{"schema": 1, "records": 3, "runs": [[1]], "stamp": null}')
    assert "mlflow" in heavy_imports(folder, *command)[0]
    assert heavy_imports(folder, *command) == (set(), 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server on localhost."""
    with TrackingServer(tmp_path / "server") as server:
        yield server.uri


def test_a_server_is_asked_one_question_until_a_writer_has_written(
    server: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder, environ = tmp_path / "copy", {"MLFLOW_TRACKING_URI": server}
    ignore = shutil.ignore_patterns("mlflow.db*", "artifacts", "results")
    shutil.copytree(spaces.undisturbed(tmp_path_factory), folder, ignore=ignore)
    run = spaces.forked("run", "tiny.yaml", "--in-process", folder=folder, environ=environ)
    assert "5/5 finished, 0 run now" in run.stdout
    spaces.forked("status", "tiny.yaml", folder=folder, environ=environ)
    assert heavy_imports(folder, "status", "tiny.yaml", **environ) == (set(), 0)
    assert "all match" in spaces.forked(
        "verify", "tiny.yaml", folder=folder, environ=environ
    ).stdout  # fmt: skip

    # One more seed is written by a writer: the next look reads the server again.
    spaces.write(folder / "tiny.yaml", seeds={"grid": [0], "final": [0, 1, 2]})
    spaces.forked("run", "tiny.yaml", "--in-process", folder=folder, environ=environ)
    text = spaces.forked("status", "tiny.yaml", folder=folder, environ=environ).stdout
    assert text.splitlines()[-1] == "complete"
    # Without the server its last known state serves, and that is said.
    gone = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    text = spaces.forked("status", "tiny.yaml", folder=folder, environ=gone).stdout
    assert "MLflow cannot be read" in text
    assert text.splitlines()[-1] == "complete"
