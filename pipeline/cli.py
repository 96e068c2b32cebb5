"""equigrid's command line: thin, a function a command."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipeline.config import load_experiment
from pipeline.datasets.raw import RawStore
from pipeline.files import InputError
from pipeline.orchestration.workspace import Workspace
from pipeline.trial import Trial, data_key

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def train(
    name: str, row: str = "", dataset: str = "", lr: float = 0.0,
    strength: Annotated[Optional[float], typer.Option("--lambda")] = None, seed: int = 0, role: str = "grid",
    profile: Optional[str] = None, workspace: Path = Path("workspace"),
) -> None:
    from pipeline.orchestration.worker import Worker
    from stages.augment_cache import augment_cache
    from stages.data_build import data_build

    experiment = load_experiment(name, profile)
    raw, space = RawStore(), Workspace(workspace)
    recipe = experiment.datasets[dataset].recipe(raw)
    point = {"lr": lr} | ({} if strength is None else {"lambda": strength})
    trial = experiment.trial(row, dataset, point, seed, role, recipe)
    progress = lambda done, total: None
    prepared = augment_cache(space, recipe, data_build(space, recipe, raw, progress), progress)
    worker = Worker(space.root, {data_key(recipe): prepared}, 0)
    worker.assign(trial)
    while True:
        piece = worker.advance(1.0)
        for n, e in enumerate(piece.epochs, piece.epochs_done - len(piece.epochs) + 1):
            print(n, {k: round(v, 4) for k, v in e.items()}, flush=True)
        if piece.state in ("finished", "failed"):
            print(piece.state, piece.reason)
            break


@app.command()
def x() -> None: ...


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app()
if __name__ == "__main__": main()
