"""Reading tracked runs: results by run key, and the records they carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from pipeline.files import InputError
from pipeline.record import Record, Result
from pipeline.tracking.runs import Identity, connect, search
from pipeline.tracking.writer import Store


@dataclass(frozen=True)
class Tracked:
    """What an experiment's finished runs say. failures: reasons by run key."""

    results: Mapping[str, Result]
    identities: Mapping[Identity, str]
    failures: Mapping[str, str]


class StoreError(Exception):
    """The store cannot be read; the text says why."""


def read(store: Store) -> Tracked:
    """Every finished run of the experiment; nothing where it does not exist.

    Raises StoreError where the store cannot be reached or is not MLflow's.
    """
    try:
        return _read(store)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError(str(error).splitlines()[0]) from error


def _read(store: Store) -> Tracked:
    client = connect(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    results: dict[str, Result] = {}
    identities: dict[Identity, str] = {}
    failures: dict[str, str] = {}
    if experiment is None:
        return Tracked(results, identities, failures)
    for run in search(client, experiment.experiment_id):
        tags = run.data.tags
        key = tags.get("run_key")
        if key is None:
            continue
        if run.info.status == "FAILED":
            failures[key] = tags.get("failure", "unknown")
        if run.info.status != "FINISHED":
            continue
        identities[(tags["row"], tags["dataset"], tags["role"], key)] = run.info.run_id
        found = _result(run)
        if key not in results or found.test is not None:
            results[key] = found
    return Tracked(results, identities, failures)


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
                _, split, metric = name.split("/")
                test.setdefault(split, {})[metric] = value
    return Result(tags["run_key"], validation, test, int(values["parameters"]), tags["hardware"])


def fetch_record(store: Store, run_id: str, folder: Path) -> Record:
    """The record a run carries as its artifact; InputError where it has none that is sound."""
    client: MlflowClient = connect(store.uri)
    try:
        path = Path(client.download_artifacts(run_id, "record.json", str(folder)))
    except (MlflowException, OSError) as error:
        raise InputError(f"run {run_id}: its record cannot be read: {error}") from error
    return Record.load(path)
