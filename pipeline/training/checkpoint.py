"""Checkpoints of tensors and plain numbers: hashed, atomic, the last two kept."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from equigrid.files import move, sha256, write_atomically
from equigrid.record import TrialFiles

log = logging.getLogger("equigrid")

_DIGEST_SIZE = 32


def save_tensors(path: Path, content: Any) -> None:
    """Write tensors and plain values, behind the SHA-256 of their bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    write_atomically(path, hashlib.sha256(payload).digest() + payload, durable=False)


def load_tensors(path: Path) -> Any:
    """Read what save_tensors wrote, on the CPU.

    Raises ValueError where the file is torn, altered or holds anything but tensors and numbers.
    """
    data = path.read_bytes()
    digest, payload = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    if sha256(payload) != digest.hex():
        raise ValueError(f"{path}: torn or altered")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise ValueError(f"{path}: refused: {error}") from error


def save_checkpoint(files: TrialFiles, content: dict[str, Any]) -> None:
    """Keep the checkpoint before this one: a torn file costs one epoch, not the trial."""
    if files.checkpoint.exists():
        os.replace(files.checkpoint, files.previous_checkpoint)
    save_tensors(files.checkpoint, content)


def load_checkpoint(files: TrialFiles, key: str) -> dict[str, Any] | None:
    """The newest sound checkpoint of this key, None where there is none."""
    for path in (files.checkpoint, files.previous_checkpoint):
        if not path.exists():
            continue
        try:
            content = load_tensors(path)
        except ValueError as error:
            log.warning("%s; falling back to the one before", error)
            path.unlink()  # else the next save would move it over the sound one
            continue
        if content["key"] == key:
            return dict(content)
        log.warning("%s: belongs to another trial; not used", path)
    return None


def load_state(files: TrialFiles) -> dict[str, Any] | None:
    """How a shorter training ended; None where there is none that is sound."""
    if not files.state.exists():
        return None
    try:
        return dict(load_tensors(files.state))
    except ValueError as error:
        log.warning("%s; training from the start", error)
        return None


def drop_checkpoints(files: TrialFiles) -> None:
    """Also the journal: all of it is in the record now. The newest becomes the training's state."""
    if files.checkpoint.exists():
        move(files.checkpoint, files.state)
    for path in (files.checkpoint, files.previous_checkpoint, files.journal):
        path.unlink(missing_ok=True)
    folder = files.checkpoint.parent
    for leftover in folder.glob(".checkpoint*.tmp"):  # of a writer that was killed
        leftover.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or it holds something that is not ours
        folder.rmdir()
