"""Records sent to a store, and what is in it then."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from pipeline.record import Record
from pipeline.tracking.store import Store
from pipeline.tracking.writer import Writer

TESTED = {
    "test": {"loss": 0.7, "accuracy": 0.625},
    "test_augmented": {"loss": 0.9, "accuracy": 0.5},
}


def log(store: Store, records: Sequence[Record]) -> None:
    with closing(Writer(store)) as writer:
        for record in records:
            writer.record(record.trial, record)
    assert writer.unsent == 0, writer.error


def runs(store: Store) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(store.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def identities(store: Store) -> Counter[tuple[str, ...]]:
    names = ("row", "dataset", "role", "run_key")
    return Counter(tuple(run.data.tags.get(name, "") for name in names) for run in runs(store))


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that tells of runs."""
    path = store.uri.removeprefix("sqlite:///")
    tables = ("experiments", "runs", "params", "metrics", "latest_metrics", "tags", "datasets",
              "inputs", "input_tags")  # fmt: skip
    with closing(sqlite3.connect(path)) as database:
        return {
            name: sorted(database.execute(f"select * from {name}"), key=repr) for name in tables
        }
