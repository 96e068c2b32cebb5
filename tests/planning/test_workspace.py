"""The workspace: one driver at a time, one worker a key, damaged files set aside."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import spaces

from equigrid.errors import InputError, LockedError
from equigrid.planning.workspace import Failure, Workspace
from equigrid.record import Record
from equigrid.trial import Trial, data_key

HOLD = """
import sys
from pathlib import Path
from equigrid.planning.workspace import Workspace
with {what}:
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(what: str) -> Iterator[subprocess.Popen[str]]:
    """A real process inside `with …:`, until it is killed or this block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(what=what)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def record(make_trial: Callable[..., Trial]) -> Record:
    return spaces.made_up(make_trial())


def test_a_second_driver_is_refused_by_name(workspace: Workspace) -> None:
    with holding(f"Workspace(Path({str(workspace.root)!r})).driver()") as holder:
        with pytest.raises(InputError) as caught, workspace.driver():
            pass
        message = str(caught.value)
        assert str(workspace.root) in message
        assert f"host {platform.node()}, pid {holder.pid}" in message
        # Being refused changes nothing for the third.
        with pytest.raises(InputError, match=f"pid {holder.pid}"), workspace.driver():
            pass


def test_a_killed_driver_leaves_the_workspace_free(workspace: Workspace) -> None:
    with holding(f"Workspace(Path({str(workspace.root)!r})).driver()") as holder:
        holder.kill()
        holder.wait()
        with workspace.driver():
            named = (workspace.root / "driver.lock").read_text()
        assert named == f"host {platform.node()}, pid {os.getpid()}"


def test_a_driver_that_ends_leaves_the_workspace_free(workspace: Workspace) -> None:
    for _ in range(2):
        with workspace.driver():
            pass
    with pytest.raises(RuntimeError), workspace.driver():
        raise RuntimeError
    with workspace.driver():
        pass


def test_a_key_is_trained_by_one_process_at_a_time(workspace: Workspace) -> None:
    key, other = "a" * 64, "b" * 64
    with holding(f"Workspace(Path({str(workspace.root)!r})).claim({key!r})") as holder:
        with pytest.raises(LockedError, match=f"pid {holder.pid}"), workspace.claim(key):
            pass
        with workspace.claim(other):
            pass
        holder.kill()
        holder.wait()
        with workspace.claim(key):
            pass


def test_two_builders_take_turns(workspace: Workspace, recipe: dict[str, object]) -> None:
    path = workspace.data_file(recipe)
    building = f"Workspace(Path({str(workspace.root)!r})).building(Path({str(path)!r}))"
    with holding(building) as holder:
        second = subprocess.Popen(
            [sys.executable, "-c", HOLD.format(what=building)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(timeout=2)
            holder.kill()
            assert second.communicate(timeout=60)[0] == "held\n"
        finally:
            second.kill()
            second.communicate()


def test_a_record_comes_back(workspace: Workspace, record: Record) -> None:
    assert workspace.record(record.key) is None
    record.save(workspace.record_file(record.key))
    assert workspace.record(record.key) == record


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"\0" * len(data), id="zeros"),
        pytest.param(lambda data: data.replace(b'"seed": 0', b'"seed": 1'), id="another key"),
        pytest.param(lambda data: data.replace(b"processor", b"pr\xefcessor"), id="flipped bit"),
    ],
)
def test_a_damaged_record_is_set_aside_and_said_once(
    workspace: Workspace,
    record: Record,
    damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = workspace.record_file(record.key)
    record.save(path)
    damaged = damage(path.read_bytes())
    assert damaged != path.read_bytes()
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "equigrid"):
        assert workspace.record(record.key) is None
        assert workspace.record(record.key) is None
    assert len(caplog.records) == 1
    assert record.key in caplog.text
    assert "will run again" in caplog.text
    assert path.with_suffix(".damaged").read_bytes() == damaged
    # The trial can be recorded anew.
    record.save(path)
    assert workspace.record(record.key) == record


def test_a_record_under_another_key_s_name_does_not_count(
    workspace: Workspace, record: Record, make_trial: Callable[..., Trial]
) -> None:
    other = make_trial(seed=1)
    record.save(workspace.record_file(other.key))
    assert workspace.record(other.key) is None


def test_a_quarantine_comes_back_until_it_is_lifted(
    workspace: Workspace, make_trial: Callable[..., Trial]
) -> None:
    trial = make_trial()
    assert workspace.failure(trial.key) is None
    workspace.release(trial.key)
    failure = Failure(trial, "RuntimeError: λ is too large", "Traceback …", 3)
    workspace.quarantine(failure)
    assert workspace.failure(trial.key) == failure
    workspace.release(trial.key)
    assert workspace.failure(trial.key) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"trial": {}}', b"\xff"])
def test_a_damaged_quarantine_gives_the_trial_another_chance(
    workspace: Workspace,
    make_trial: Callable[..., Trial],
    content: bytes,
) -> None:
    trial = make_trial()
    workspace.quarantine(Failure(trial, "reason", "details", 1))
    (path,) = (workspace.root / "quarantine").iterdir()
    path.write_bytes(content)
    assert workspace.failure(trial.key) is None


def test_every_file_lies_below_the_root(
    workspace: Workspace, recipe: dict[str, object], make_trial: Callable[..., Trial]
) -> None:
    files = workspace.trial_files(make_trial())
    paths = [
        workspace.data_file(recipe),
        workspace.cache_file(recipe),
        workspace.data_file(recipe | {"builder": "my_data:Points"}),
        files.checkpoint, files.previous_checkpoint, files.weights, files.journal, files.record,
        workspace.tables("tiny.small"), workspace.tune_folder, workspace.artifact_folder,
    ]  # fmt: skip
    assert all(path.is_relative_to(workspace.root) for path in paths)
    assert len(set(paths)) == len(paths)
    assert data_key(recipe)[:16] in workspace.data_file(recipe).name


def test_the_tracking_store_is_the_workspace_s_unless_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert workspace.tracking_uri == f"sqlite:///{workspace.root / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert workspace.tracking_uri == "http://127.0.0.1:5000"


def test_names_of_another_kind_are_refused_before_any_file_is_touched(
    workspace: Workspace, make_trial: Callable[..., Trial], record: Record
) -> None:
    trial = make_trial()
    builder = {**trial.data, "builder": "../../elsewhere:Data"}
    for bad in (
        replace(trial, experiment="../../elsewhere"),
        replace(trial, experiment="/absolute"),
        replace(trial, experiment="a\0b"),
        replace(trial, experiment="x" * 300),
        replace(trial, row="../row"),
        replace(trial, dataset="data/set"),
        replace(trial, data=builder),
    ):
        with pytest.raises(InputError, match="not a trial"):
            Trial.from_dict(bad.to_dict())
        text = json.dumps({**json.loads(record.to_json()), "trial": bad.to_dict(), "key": bad.key})
        with pytest.raises(InputError, match="not a valid record"):
            Record.from_json(text, "elsewhere.json")
    assert not workspace.root.exists()


def test_a_name_stands_for_one_search_space_of_those_that_are_there(tmp_path: Path) -> None:
    """Edited, moved, with its workspace or without, linked to, or packaged it is the same one."""
    first, second = tmp_path / "a" / "tiny.yaml", tmp_path / "b" / "tiny.yaml"
    for path in (first, second):
        path.parent.mkdir()
        path.touch()
    workspace = Workspace(tmp_path / "workspace")

    def take(origin: object) -> None:
        workspace.check_name("tiny", str(origin))
        workspace.take_name("tiny", tmp_path, str(origin))

    take(first)
    take(first)
    with pytest.raises(InputError, match="rename the file, or take another --workspace"):
        take(second)
    workspace.check_name("tiny.small", str(second))  # of a profile that was never run from there
    shutil.copytree(workspace.root, tmp_path / "copied")
    Workspace(tmp_path / "copied").check_name("tiny", str(second))
    first.unlink()
    take(second)
    first.hardlink_to(second)
    take(first)
    with pytest.raises(InputError, match="stands for"):
        take("the packaged one")

    # Submitted from elsewhere, whatever is there now.
    take("/laptop/tiny.yaml (submitted)")
    take("/laptop/tiny.yaml (submitted)")
    with pytest.raises(InputError, match=r"delete .*tiny\.search_space"):
        take("/other/tiny.yaml (submitted)")

    # A note from before the origin was kept, or a damaged one.
    note = tmp_path / "workspace" / "results" / "tiny.search_space"
    for text in (str(first.parent), "{", '{"folder": "/a"}'):
        note.write_text(text)
        workspace.check_name("tiny", str(second))
    assert workspace.search_space_folder("tiny") == Path("/a")
