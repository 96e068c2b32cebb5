"""Put new inputs through a trained network: their latents z, as an .npz file.

Example: equigrid embed 3f2a9c41 digits.npz
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Root
from equigrid.datasets.raw import read_npz
from equigrid.errors import InputError
from equigrid.files import write_atomically
from equigrid.own_parts.source_code import check_fingerprints
from equigrid.planning.find_run import find_record
from equigrid.planning.open_run import OpenRun, open_run_or_refuse
from equigrid.planning.workspace import Workspace
from equigrid.record import Record

#: Inputs that go through the network at once.
TOGETHER = 500


def embed(
    run: Annotated[str, typer.Argument(help="An MLflow run id, or a run key (its beginning).")],
    inputs: Annotated[Path, typer.Argument(help="An .npz file of new inputs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: INPUTS.embedded.npz.")
    ] = None,
    workspace: Root = WORKSPACE,
) -> None:
    place = Workspace(workspace)
    record = find_record(place, run)
    found = latents_of(opened(place, record), inputs)
    target = output or inputs.with_name(f"{inputs.stem}.embedded.npz")
    write(target, found)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
    console.print(f"{target}: {shapes}, by {record.trial.describe()}", highlight=False,
                  markup=False, soft_wrap=True)  # fmt: skip


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
    """A run whose network has latents; InputError for any other, or where its code differs."""
    workspace.import_own_parts(record.trial.experiment)
    check_fingerprints(record.trial.all_code)
    run = open_run_or_refuse(workspace, record)
    if not (hasattr(run.model, "encode") or hasattr(run.model, "embed")):
        raise InputError(f"{record.trial.describe()}: {record.trial.model['name']} has no latent")
    return run


def latents_of(run: OpenRun, path: Path) -> dict[str, NDArray[np.float32]]:
    """z [n, …] of the inputs in a file and, where the network has one, their frame [n, 3, 3]:
    three orthonormal axes as rows, x, y, z each. Raises InputError.
    """
    # torch takes a second to import, which `--help` need not.
    import torch

    from equigrid.objectives.latents import embedding

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
