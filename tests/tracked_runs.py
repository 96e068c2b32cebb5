"""Records sent to a store, and what is in it then."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from equigrid.record import Record
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer

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


def finished_runs(
    workspace: Path, experiment: str, uri: str = ""
) -> Counter[tuple[str, str, str, str]]:
    """How many finished MLflow runs there are of each (row, dataset, role, key).

    In the workspace's own store, or in that of `uri`.
    """
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri or f"sqlite:///{workspace / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return Counter()
    counts: Counter[tuple[str, str, str, str]] = Counter()
    token = None
    while True:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
        for run in page:
            tags = run.data.tags
            if run.info.status == "FINISHED" and "role" in tags:
                counts[tags["row"], tags["dataset"], tags["role"], tags.get("run_key", "")] += 1
        token = page.token
        if not token:
            return counts
