"""New inputs through a trained network: their latents, for whatever comes next."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equigrid.datasets.raw import read_npz
from equigrid.errors import InputError
from equigrid.files import write_atomically
from equigrid.objectives.latents import embedding
from equigrid.planning.opening import OpenRun, open_run_or_refuse
from equigrid.planning.workspace import Workspace
from equigrid.record import Record

#: Inputs that go through the network at once.
TOGETHER = 500


def read_inputs(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file; InputError where it is none, or holds what is no numbers."""
    try:
        arrays = read_npz(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.ndim == 0 or not len(array):
            raise InputError(f"{path}: {name} is {array.dtype} {array.shape}, not rows of numbers")
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name} has numbers that are not finite")
    return arrays


def opened(workspace: Workspace, record: Record) -> OpenRun:
    """A run with a network that has latents; InputError for any other."""
    run = open_run_or_refuse(workspace, record)
    if not (hasattr(run.model, "encode") or hasattr(run.model, "embed")):
        raise InputError(f"{record.trial.describe()}: {record.trial.model['name']} has no latent")
    return run


def embed(run: OpenRun, path: Path) -> dict[str, NDArray[np.float32]]:
    """z [n, …] of the inputs in a file and, where the network has one, their frame [n, 3, 3]:
    three orthonormal axes as rows, x, y, z each. Raises InputError.
    """
    arrays = read_inputs(path)
    try:
        x = run.dataset.new_inputs(arrays)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    parts: dict[str, list[torch.Tensor]] = {}
    with torch.inference_mode():
        for some in torch.split(x, TOGETHER):
            if hasattr(run.model, "in_frame_of"):
                z, _, frame = run.model.distribution(some)
                parts.setdefault("frame", []).append(frame.view(-1, 3, 3))
            else:
                z = embedding(run.model, some)
            parts.setdefault("z", []).append(z)
    return {name: torch.cat(each).numpy() for name, each in parts.items()}


def write(path: Path, found: dict[str, NDArray[np.float32]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **found)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())
