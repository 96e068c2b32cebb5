"""Checkpoints: sound or refused, the one before as a fallback, and never code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equigrid.training.checkpoint import (
    drop_checkpoints,
    load_checkpoint,
    load_tensors,
    save_checkpoint,
    save_tensors,
)

KEY = "k" * 64


def _content(epoch):
    return {"key": KEY, "epoch": epoch, "weights": {"w": torch.arange(6.0).reshape(2, 3) + epoch}}


def test_tensors_come_back_to_the_bit(tmp_path):
    path = tmp_path / "checkpoint"
    saved = {"a": torch.randn(3, 4), "b": torch.tensor([1, 2]), "n": 3, "x": [0.1, None, "s"]}
    save_tensors(path, saved)
    found = load_tensors(path)
    assert torch.equal(found["a"], saved["a"])
    assert torch.equal(found["b"], saved["b"])
    assert (found["n"], found["x"]) == (3, [0.1, None, "s"])
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]


@given(st.data())
def test_any_change_or_cut_is_noticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("checkpoint") / "file"
    save_tensors(path, _content(1))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([whole[:place], bytes(flipped)])))
    with pytest.raises(ValueError, match="torn or altered"):
        load_tensors(path)


def test_the_newest_checkpoint_is_taken_and_two_are_kept(trial_files):
    files = trial_files()
    assert load_checkpoint(files, KEY) is None
    for epoch in (1, 2, 3):
        save_checkpoint(files, _content(epoch))
        assert load_checkpoint(files, KEY)["epoch"] == epoch
    assert sorted(path.name for path in files.checkpoint.parent.iterdir()) == [
        "checkpoint",
        "previous",
    ]
    drop_checkpoints(files)
    drop_checkpoints(files)
    assert load_checkpoint(files, KEY) is None


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev,
    reason="needs two file systems",
)
def test_what_is_in_training_may_lie_on_another_disk(trial_files):
    """`running` as a link to a faster one: no name can be moved from there."""
    files = trial_files()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        files.checkpoint.parent.symlink_to(other)
        save_checkpoint(files, _content(1))
        before = files.checkpoint.read_bytes()
        files = replace(files, state=files.state.parents[1] / "states" / "state")
        drop_checkpoints(files)
        assert list(Path(other).iterdir()) == []
    assert files.state.read_bytes() == before
    assert [path.name for path in files.state.parent.iterdir()] == ["state"]


@pytest.mark.parametrize("damage", ["torn", "empty", "gone"])
def test_a_torn_checkpoint_falls_back_to_the_one_before(trial_files, damage, caplog):
    """`gone`: killed between moving the old one aside and writing the new one."""
    files = trial_files()
    save_checkpoint(files, _content(1))
    save_checkpoint(files, _content(2))
    if damage == "gone":
        files.checkpoint.unlink()
    else:
        os.truncate(files.checkpoint, 100 if damage == "torn" else 0)
    assert load_checkpoint(files, KEY)["epoch"] == 1
    assert (str(files.checkpoint) in caplog.text) == (damage != "gone")


def test_a_torn_checkpoint_never_displaces_the_sound_one_before(trial_files):
    """Torn, resumed, and killed again while the next one is written: the sound one is left."""
    files = trial_files()
    save_checkpoint(files, _content(1))
    save_checkpoint(files, _content(2))
    os.truncate(files.checkpoint, 100)
    assert load_checkpoint(files, KEY)["epoch"] == 1
    save_checkpoint(files, _content(2))
    os.truncate(files.checkpoint, 100)
    assert load_checkpoint(files, KEY)["epoch"] == 1


def test_both_torn_means_from_the_start(trial_files):
    files = trial_files()
    for epoch in (1, 2):
        save_checkpoint(files, _content(epoch))
    for path in (files.checkpoint, files.previous_checkpoint):
        os.truncate(path, 100)
    assert load_checkpoint(files, KEY) is None


def test_another_trials_checkpoint_is_not_used(trial_files, caplog):
    files = trial_files()
    save_checkpoint(files, _content(1))
    assert load_checkpoint(files, "other") is None
    assert "another trial" in caplog.text


class Intruder:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["torch", "plain pickle"])
def test_a_pickle_with_code_is_refused_and_never_executed(trial_files, tmp_path, form, caplog):
    """Even where its checksum is right; the checkpoint before it is taken."""
    files = trial_files()
    save_checkpoint(files, _content(1))
    save_checkpoint(files, _content(2))
    marker = tmp_path / "executed"
    content = {**_content(2), "more": Intruder(f"touch {marker}")}
    if form == "torch":
        buffer = io.BytesIO()
        torch.save(content, buffer)
        payload = buffer.getvalue()
    else:
        payload = pickle.dumps(content, protocol=2)
    files.checkpoint.write_bytes(hashlib.sha256(payload).digest() + payload)
    with pytest.raises(ValueError, match="refused"):
        load_tensors(files.checkpoint)
    assert load_checkpoint(files, KEY)["epoch"] == 1
    assert not marker.exists()
    assert "refused" in caplog.text
