"""Reading MLflow itself: every run of an experiment, and the records they carry."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from equigrid.errors import InputError, StoreError
from equigrid.record import Record, Result
from equigrid.tracking.look import reason
from equigrid.tracking.runs import connect, own_metrics, search, undefined_scores
from equigrid.tracking.store import Identity, Store, Tracked, TrackedRun

#: Not runs of a trial.
OTHER_ROLES = ("parent", "table")


def summary(found: Sequence[tuple[Identity, Run]]) -> Tracked:
    """What an experiment's runs say: one for each identity, finished ones first."""
    runs: dict[Identity, TrackedRun] = {}
    doubled = []
    for identity, run in found:
        info = run.info
        result = _result(run) if info.status == "FINISHED" else None
        failure = run.data.tags.get("failure", "unknown") if info.status == "FAILED" else ""
        known = runs.get(identity)
        if known is not None and known.result is not None:
            if result is not None:
                doubled.append(info.run_id)
            continue
        runs[identity] = TrackedRun(info.run_id, info.status, result, failure)
    return Tracked(runs, tuple(doubled))


def read(store: Store) -> Tracked:
    """The summary of every run of the experiment; raises StoreError as read_runs does."""
    return summary(read_runs(store))


def read_runs(store: Store) -> list[tuple[Identity, Run]]:
    """MLflow's own runs of trials, with their identities; none where there is no experiment.

    Raises StoreError where the store cannot be reached or is not MLflow's.
    """
    # Among so many new objects that all stay, looking for garbage takes half of the time: 5 000
    # runs 12 s with it, 6 s without.
    collects = gc.isenabled()
    gc.disable()
    try:
        client = connect(store.uri)
        experiment = client.get_experiment_by_name(store.experiment)
        if experiment is None:
            return []
        found = []
        for run in search(client, experiment.experiment_id):
            tags = run.data.tags
            if "run_key" in tags and tags.get("role") not in OTHER_ROLES:
                identity = (tags["row"], tags["dataset"], tags["role"], tags["run_key"])
                found.append((identity, run))
        return found
    except Exception as error:  # a damaged file gives any
        raise StoreError(reason(store, error)) from error
    finally:
        if collects:
            gc.enable()


def _result(run: Run) -> Result:
    values, tags = run.data.metrics, run.data.tags
    validation = {
        name.removeprefix("best_"): value
        for name, value in values.items()
        if name.startswith("best_") and name != "best_epoch"
    }
    test: dict[str, dict[str, float]] | None = None
    if tags["role"] == "final":
        test = {}
        for name, value in values.items():
            if name.startswith("test/"):
                _, split, metric = name.split("/", 2)
                test.setdefault(split, {})[metric] = value
    return Result(
        tags["run_key"],
        validation,
        test,
        int(values.get("parameters", -1)),
        tags.get("hardware", ""),
        tags.get("data_sha256", ""),
        own_metrics(tags),
        undefined_scores(tags) if test is not None else {},
    )


def fetch_record(store: Store, run_id: str, folder: Path) -> Record:
    """The record a run carries as its artifact; InputError where it has none that is sound."""
    here = store.artifact_folder / store.experiment / run_id / "artifacts" / "record.json"
    if store.database is not None and here.exists():
        return Record.load(here)  # where it lies now, even if the workspace was moved or copied
    try:
        client: MlflowClient = connect(store.uri)
        path = Path(client.download_artifacts(run_id, "record.json", str(folder)))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise InputError(f"run {run_id}: its record cannot be read: {error}") from error
    return Record.load(path)
