"""Run one trial in the foreground, without Ray or MLflow; continues where it was stopped.

Writes its record and its best weights into the workspace.

Example: equigrid train quickstart --row Ours --dataset C4 --set lr=1e-3 --set lambda=0.5
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import ERROR, WORKSPACE, Profile, Root
from equigrid.config.experiment import Experiment, load_experiment
from equigrid.config.resolution import check_value, searchable
from equigrid.config.schema import TrainingSpec
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import builder_of
from equigrid.errors import InputError
from equigrid.lookup import model_entry, objective_entry
from equigrid.orchestration.dispatch import SLICE_SECONDS
from equigrid.own_parts.source_code import check_fingerprints
from equigrid.planning.workspace import Workspace
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.trial import TRAINING_VERSION, Role, Trial, data_key


def train(
    name: Annotated[str | None, typer.Argument(help="A search space, unless --trial.")] = None,
    row: Annotated[str | None, typer.Option(help="A row of the search space.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the search space.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: a searched value of the row.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    role: Annotated[str, typer.Option(help="grid, or final: evaluates the test splits.")] = "grid",
    trial: Annotated[
        Path | None, typer.Option(help="A trial as JSON, instead of everything above.")
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    console.goes_on = True
    if trial is not None:
        wanted, beside = resolve_file(trial), trial.parent
    else:
        wanted = resolve(name, profile, row, dataset, given or [], seed, role)
        beside = load_experiment(str(name), profile).folder
    if not train_one(wanted, Workspace(workspace), RawStore(beside=beside)):
        raise typer.Exit(ERROR)


def resolve(
    name: str | None,
    profile: str | None,
    row: str | None,
    dataset: str | None,
    given: Sequence[str],
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
    point = _point(experiment, row, given)
    chosen: Role = "final" if role == "final" else "grid"
    recipe = experiment.recipe(dataset, RawStore(beside=experiment.folder))
    return experiment.trial(row, dataset, point, seed, chosen, recipe)


def _point(experiment: Experiment, row: str, given: Sequence[str]) -> dict[str, float]:
    """A point of the row's grid from `NAME=VALUE`."""
    method, values = experiment.rows[row], dict[str, float]()
    required = () if method.trivial else ("lr", *method.own)
    need = " ".join(f"--set {name}=…" for name in required) or "no --set"
    for text in given:
        name, _, value = text.partition("=")
        if name not in method.searched:
            allowed = ", ".join(method.searched) or "none"
            raise InputError(f"--set {text}: row {row!r} takes {need}; allowed: {allowed}")
        try:
            values[name] = int(value) if value.strip().isdigit() else float(value)
            check_value(method, name, values[name])
        except ValueError as error:
            raise InputError(f"--set {text}: {error}") from error
    if missing := [name for name in required if name not in values]:
        raise InputError(f"--set {missing[0]}=… is missing: row {row!r} takes {need}")
    return {name: values[name] for name in method.searched if name in values}


def resolve_file(path: Path) -> Trial:
    """A trial from a JSON file, checked whole: InputError names what this version cannot run."""
    try:
        trial = Trial.from_dict(json.loads(path.read_text("utf-8")))
        check_runnable(trial, RawStore(beside=path.parent))
    except (OSError, ValueError, RecursionError, InputError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a trial: {text}") from error
    return trial


def check_runnable(trial: Trial, raw: RawStore) -> None:
    """Raise InputError (or pydantic's ValueError) where a trial's parts are not available here."""
    if trial.training_version != TRAINING_VERSION:
        raise InputError(
            f"of training version {trial.training_version}; this is {TRAINING_VERSION}"
        )
    check_fingerprints(trial.all_code)
    builder = builder_of(trial.data)
    if builder.raw_fingerprints(raw) != trial.data["raw"]:
        raise InputError("it was resolved for other raw files than those here")
    model = model_entry(trial.model["name"])
    if model.trivial:
        if trial.training:
            raise InputError(f"training {dict(trial.training)}; a trivial row has none")
        return
    objective = objective_entry(trial.objective["name"])
    known = searchable(model, objective)
    if not {"lr", *objective.searched} <= set(trial.hyperparameters) <= set(known):
        raise InputError(f"hyperparameters {sorted(trial.hyperparameters)}; it takes {list(known)}")
    for name, value in trial.hyperparameters.items():
        part = trial.model if known[name] == "model" else trial.training
        if name in part and part[name] != value:
            raise InputError(f"{name} is {value:g} in its hyperparameters, {part[name]} elsewhere")
    settings = TrainingSpec.model_validate(_as_written(trial.training)).settings()
    if missing := settings.keys() - trial.training.keys():
        raise InputError(f"training lacks {', '.join(sorted(missing))}")


def _as_written(training: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's training as a search space has it: `{name: {parameter: value}}`."""
    written = dict(training)
    for key in ("optimizer", "schedule"):
        if isinstance(part := training.get(key), dict) and "name" in part:
            written[key] = {part["name"]: {n: v for n, v in part.items() if n != "name"}}
    return written


def train_one(trial: Trial, workspace: Workspace, raw: RawStore) -> bool:
    """Train (or go on with, or only test) a trial; False where it failed."""
    # torch takes a second to import, which `--help` need not.
    from equigrid.orchestration.worker import Worker

    def quiet(done: int, total: int) -> None:
        console.print(f"preparing data: {done}/{total}", end="\r", highlight=False)

    base = data_build(workspace, trial.data, raw, quiet)
    prepared = augment_cache(workspace, trial.data, base, quiet)
    worker = Worker(workspace.root, {data_key(trial.data): prepared}, retries=0)
    worker.assign(trial)
    console.print(f"{trial.role}  {trial.describe()}", highlight=False, markup=False)
    keeps = f", keeps up to {worker.kept / 1e9:.1f} GB of freed memory" if worker.kept else ""
    console.print(f"key {trial.key}, on {worker.device}{keeps}", highlight=False)
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
