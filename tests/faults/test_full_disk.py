"""A workspace on a real small disk that fills up: said in one line, and what was done stays."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import spaces

from equigrid.record import Record

pytestmark = pytest.mark.cluster

#: Run on a disk of $2 bytes, keep a copy of what it left, make the disk large, run again.
SCRIPT = """
set -u
mount -t tmpfs -o size=$2 none "$1/workspace"
equigrid run tiny.yaml --in-process >"$1/first.txt" 2>&1; echo $? >"$1/first.code"
cp -a "$1/workspace" "$1/left"
mount -o remount,size=64m "$1/workspace"
equigrid run tiny.yaml --in-process >"$1/second.txt" 2>&1; echo $? >"$1/second.code"
cp -a "$1/workspace" "$1/done"
"""


def size(workspace: Path, *folders: str) -> int:
    """What the files below these folders take, in the pages of 4096 bytes that such a disk has."""
    files = [it for folder in folders for it in (workspace / folder).rglob("*") if it.is_file()]
    return sum(-(-it.stat().st_size // 4096) * 4096 for it in files)


@pytest.mark.parametrize("full", ["while the data is built", "in the midst of the trials"])
def test_a_disk_that_fills_up_costs_only_what_did_not_fit(
    full: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = spaces.undisturbed(tmp_path_factory)
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True
    )
    if tried.returncode:
        pytest.skip("mounting a file system of one's own is not permitted here")
    data = size(done / "workspace", "data", "cache")
    trials = size(done / "workspace", "records", "weights")
    # A training keeps two checkpoints of 60 kB: with this some trials end, and not all.
    room = data // 2 if "data" in full else data + trials + 96 * 1024
    spaces.write(tmp_path / "tiny.yaml")
    (tmp_path / "workspace").mkdir()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    environ = spaces.environment(MLFLOW_TRACKING_URI=store)
    environ["PATH"] = f"{Path(spaces.EXECUTABLE).parent}:{environ['PATH']}"
    subprocess.run(
        ["unshare", "-rm", "sh", "-c", SCRIPT, "sh", tmp_path, str(room)],
        cwd=tmp_path, env=environ, check=True, timeout=spaces.PATIENCE,
    )  # fmt: skip

    said = (tmp_path / "first.txt").read_text()
    assert (tmp_path / "first.code").read_text() == "1\n", said
    last = said.splitlines()[-1]
    assert last.startswith("equigrid: [Errno 28] No space left on device (writing ")
    assert "workspace/" in last
    assert last.endswith("bytes are free there)")
    assert "Traceback" not in said
    # What was finished before is whole, and is neither lost nor made again.
    kept = list((tmp_path / "left" / "records").glob("*.json"))
    assert bool(kept) == ("trials" in full), said
    for path in kept:
        then, now = Record.load(path), Record.load(tmp_path / "done" / "records" / path.name)
        assert then.key == path.stem
        # The selected one was tested since; its training, with its times, is the one from before.
        assert replace(now, trial=then.trial, test=then.test) == then
    again = (tmp_path / "second.txt").read_text()
    assert (tmp_path / "second.code").read_text() == "0\n", again
    assert spaces.tables(tmp_path / "done") == spaces.tables(done / "workspace")
