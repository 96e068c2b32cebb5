"""One trial in the foreground: no Ray, no MLflow."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.console import Console

from pipeline.config.experiment import load_experiment
from pipeline.config.schema import TrainingSpec
from pipeline.datasets.raw import RawStore
from pipeline.datasets.recipe import builder_of
from pipeline.errors import InputError
from pipeline.orchestration.dispatch import SLICE_SECONDS
from pipeline.orchestration.worker import Worker
from pipeline.own_parts.source_code import check_fingerprints
from pipeline.planning.workspace import Workspace
from pipeline.registry import model_entry, objective_entry
from pipeline.trial import TRAINING_VERSION, Role, Trial, data_key
from stages.augment_cache import augment_cache
from stages.data_build import data_build


def resolve(
    name: str | None,
    profile: str | None,
    row: str | None,
    dataset: str | None,
    lr: float | None,
    strength: float | None,
    seed: int,
    role: str,
) -> Trial:
    """A trial from the words of the command line; InputError names what is wrong with them."""
    if name is None or row is None or dataset is None:
        raise InputError("train needs a search space with --row and --dataset, or --trial FILE")
    experiment = load_experiment(name, profile)
    if row not in experiment.rows:
        raise InputError(f"--row: no row {row!r}; there are: {', '.join(experiment.rows)}")
    if dataset not in experiment.datasets:
        known = ", ".join(experiment.datasets)
        raise InputError(f"--dataset: no dataset {dataset!r}; there are: {known}")
    if role not in ("grid", "final"):
        raise InputError(f"--role: {role!r}; allowed: grid, final")
    given = {"lr": lr, "lambda": strength}
    searched = experiment.rows[row].searched
    for key, value in given.items():
        if (value is None) == (key in searched):
            need = ", ".join(f"--{name}" for name in searched) or "no hyperparameters"
            raise InputError(f"--{key}: row {row!r} takes {need}")
        good = value is None or (
            math.isfinite(value) and (value > 0 or (key, value) == ("lambda", 0))
        )
        if not good:
            raise InputError(f"--{key}: {value!r}; expected a positive number")
    point = {key: value for key, value in given.items() if value is not None}
    chosen: Role = "final" if role == "final" else "grid"
    recipe = experiment.recipe(dataset, RawStore())
    return experiment.trial(row, dataset, point, seed, chosen, recipe)


def resolve_file(path: Path) -> Trial:
    """A trial from a JSON file, checked whole: InputError names what this version cannot run."""
    try:
        trial = Trial.from_dict(json.loads(path.read_text("utf-8")))
        check_runnable(trial)
    except (OSError, ValueError, RecursionError, InputError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a trial: {text}") from error
    return trial


def check_runnable(trial: Trial) -> None:
    """Raise InputError (or pydantic's ValueError) where a trial's parts are not available here."""
    if trial.training_version != TRAINING_VERSION:
        raise InputError(
            f"of training version {trial.training_version}; this is {TRAINING_VERSION}"
        )
    check_fingerprints(trial.all_code)
    builder = builder_of(trial.data)
    if builder.raw_fingerprints(RawStore()) != trial.data["raw"]:
        raise InputError("it was resolved for other raw files than those here")
    if model_entry(trial.model["name"]).trivial:
        return
    searched = set(objective_entry(trial.objective["name"]).searched)
    if searched != set(trial.hyperparameters):
        raise InputError(f"hyperparameters {sorted(trial.hyperparameters)}; it takes {searched}")
    settings = TrainingSpec.model_validate(dict(trial.training)).settings()
    if missing := settings.keys() - trial.training.keys():
        raise InputError(f"training lacks {', '.join(sorted(missing))}")


def train_one(trial: Trial, workspace: Workspace, console: Console) -> bool:
    """Train (or go on with, or only test) a trial; False where it failed."""
    raw = RawStore()

    def quiet(done: int, total: int) -> None:
        console.print(f"preparing data: {done}/{total}", end="\r", highlight=False)

    base = data_build(workspace, trial.data, raw, quiet)
    prepared = augment_cache(workspace, trial.data, base, quiet)
    worker = Worker(workspace.root, {data_key(trial.data): prepared}, retries=0)
    worker.assign(trial)
    console.print(f"{trial.role}  {trial.describe()}", highlight=False, markup=False)
    console.print(f"key {trial.key}, on {worker.device}", highlight=False)
    while True:
        piece = worker.advance(SLICE_SECONDS)
        first = piece.epochs_done - len(piece.epochs) + 1
        for number, row in enumerate(piece.epochs, first):
            scores = "  ".join(f"{name} {value:.4f}" for name, value in row.items())
            console.print(f"epoch {number}  {scores}", highlight=False, soft_wrap=True)
        if piece.state == "failed":
            console.print(f"failed: {piece.reason}", style="red", markup=False, soft_wrap=True)
            workspace.release(trial.key)
            return False
        if piece.state == "finished":
            break
    record = workspace.record(trial.key)
    assert record is not None
    seconds = sum(record.epoch_seconds)
    console.print(
        f"best epoch {record.best_epoch} of {len(record.history)}, {seconds:.0f} s", highlight=False
    )
    for split, tested in (record.test or {}).items():
        values = "  ".join(f"{name} {value:.4f}" for name, value in tested.items())
        console.print(f"{split}  {values}", highlight=False)
    console.print(f"record: {workspace.record_file(trial.key)}", highlight=False, soft_wrap=True)
    return True
