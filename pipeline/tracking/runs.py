"""What a record is in MLflow: names of tags, parameters and metrics. How a store is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow.entities import (
    Experiment,
    Metric,
    Run,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from equigrid.errors import InputError
from equigrid.files import canonical_json, sha256
from equigrid.record import Record
from equigrid.tracking.database import make_store
from equigrid.tracking.store import sqlite_file
from equigrid.trial import Trial

PARENT = "parent"
#: A tag with the fingerprint of a metric from outside the package begins so.
METRIC = "metric."
#: A tag with what a test gave instead of a number begins so.
UNDEFINED = "undefined/"
#: Characters that MLflow takes of a name, and of a parameter's value.
LONGEST_NAME, LONGEST_VALUE = 250, 6000
#: What the UI shows as a description; characters that MLflow takes of a run's and an experiment's.
NOTE = "mlflow.note.content"
LONGEST_NOTE, LONGEST_EXPERIMENT_NOTE = 8000, 5000
#: A view of the list of runs is a tag of the experiment: this, and the view's name.
SHARED_VIEW, VIEW = "mlflow.sharedViewState.", "scores"
#: What MLflow takes for a part of a parameter's name.
NAMED = re.compile(r"[A-Za-z0-9_. :/-]+")
#: A grid trial logs at most so many of its epochs, and the best and the last of all: there are
#: many, and half of what a server does for one is metrics. The record, an artifact of the run, has
#: every epoch.
GRID_POINTS = 40


def connect(uri: str) -> MlflowClient:
    if (path := sqlite_file(uri)) is not None:
        make_store(path)
    elif uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
        # Once: MLflow itself asks a database that does not answer for a minute and a half.
        create_engine(uri, poolclass=NullPool).connect().close()
    return MlflowClient(tracking_uri=uri)


#: HTTP statuses by which a store says that it will not take what it was given.
REFUSED = (400, 404, 409, 413, 422)
#: How MLflow's client begins to tell of an answer that is not MLflow's, or of none.
REST_FAILED = "API request to"


def is_refusal(error: Exception) -> bool:
    """Whether an error is about what was sent, so that sending it again cannot help.

    Else it is about the store: it is out of reach, busy or broken, or wants other credentials.
    """
    if isinstance(error, MlflowException):
        of_database = isinstance(error.__cause__, SQLAlchemyError)
        status = error.get_http_status_code()
        # Of an address that a server does not know it speaks as any server does.
        lost = status == 404 and (
            str(error).startswith(REST_FAILED) or error.error_code == "ENDPOINT_NOT_FOUND"
        )
        return status in REFUSED and not of_database and not lost
    return isinstance(error, InputError | ValueError | TypeError)


def is_no_store(error: Exception) -> bool:
    """Whether MLflow takes no such address at all: a scheme, a driver, a version it lacks."""
    if isinstance(error, MlflowException):
        of_database = isinstance(error.__cause__, SQLAlchemyError)
        return not of_database and not str(error).startswith(REST_FAILED)
    return isinstance(error, ArgumentError | ImportError | ValueError)


def search(client: MlflowClient, experiment: str, filter_string: str = "") -> Iterator[Run]:
    """All active runs that match, page by page."""
    token = None
    while True:
        page = client.search_runs(
            [experiment], filter_string, ViewType.ACTIVE_ONLY, max_results=5000, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def run_name(trial: Trial) -> str:
    """Short, for lists that cut it: row and dataset are the parent's name, the seed is first."""
    name = f"seed {trial.seed}  {trial.role}  {trial.point()}".rstrip()
    return held(name, LONGEST_NAME)


def held(text: str, most: int) -> str:
    """A text as MLflow can hold it: one that is longer by its beginning and its SHA-256."""
    if len(text) <= most:
        return text
    mark = f" - SHA-256 {sha256(text.encode('utf-8', 'surrogatepass'))}"
    return text[: most - len(mark)] + mark


def noted(text: str, most: int) -> str:
    """A description as MLflow can hold it: whole lines, and whether some are left out."""
    if len(text) <= most:
        return text
    rest = "\n\n(cut: all of it is among the artifacts of the run `table`)"
    return text[: most - len(rest)].rpartition("\n")[0] + rest


def view_of(columns: Sequence[str]) -> str:
    """A view of the list of runs as the UI's own button to share one keeps it.

    columns: metrics and parameters that it shows.
    """
    return json.dumps({
        "orderByKey": "attributes.start_time", "orderByAsc": True, "searchFilter": "",
        "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [],
        "modelVersionFilter": "All Runs", "selectedColumns": list(columns), "runsExpanded": {},
        "runsPinned": [], "runsHidden": [],
    })  # fmt: skip


def page_of(experiment: Experiment) -> str:
    """Where MLflow's pages list an experiment's runs, with their scores where a table was kept.

    Without the kind of work a browser that has not been there opens on pages for language models.
    """
    view = f"&viewStateShareKey={VIEW}" if SHARED_VIEW + VIEW in experiment.tags else ""
    return f"/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning{view}"


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """By dotted path; a mapping with a key that MLflow takes for no name is one text."""
    if isinstance(value, Mapping) and all(NAMED.fullmatch(str(name)) for name in value):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}", inner)
    else:
        yield prefix, canonical_json(value) if isinstance(value, Mapping) else str(value)


def parameters(trial: Trial) -> dict[str, str]:
    """The searched values first, then every setting by its dotted path; all as MLflow holds it."""
    flat = dict(trial.hyperparameters) | {"seed": trial.seed}
    params = {name: str(value) for name, value in flat.items()}
    for part in ("model", "objective", "training"):
        params |= dict(_flat(part, getattr(trial, part)))
    recipe = trial.data
    params |= dict(_flat("data", {**recipe["parameters"], "builder": recipe["builder"]}))
    params["data.group"] = str(recipe["group"])
    params |= {f"code.{name}": digest for name, digest in trial.training_code.items()}
    return {held(name, LONGEST_NAME): held(it, LONGEST_VALUE) for name, it in params.items()}


def metrics(record: Record, role: str, sent: int | None = None) -> list[Metric]:
    """The history by epoch (a grid trial's thinned), the best epoch's scores, a final's tests.

    sent: when, in milliseconds, where the run has had other scores: of two values of one step and
    time MLflow takes the higher for the latest.
    """
    entries: list[Metric] = []
    seconds, last = 0.0, len(record.history)
    stride = -(-last // GRID_POINTS) if role == "grid" else 1
    for epoch, row in enumerate(record.history, 1):
        seconds += record.epoch_seconds[epoch - 1]
        if epoch % stride == 0 or epoch in (record.best_epoch, last):
            stamp = int((record.started + seconds) * 1000)
            entries += [Metric(name, value, stamp, epoch) for name, value in row.items()]
    end = int((record.started + seconds) * 1000)
    summary: dict[str, float] = {f"best_{name}": v for name, v in record.validation.items()}
    summary |= {"best_epoch": record.best_epoch, "epochs": last, "parameters": record.parameters}
    summary["seconds"] = seconds
    if role == "final":
        for split, scores in (record.test or {}).items():
            summary |= {f"test/{split}/{name}": value for name, value in scores.items()}
    entries += [
        Metric(name, float(value), sent or end, record.best_epoch)
        for name, value in summary.items()
    ]
    return entries


def latest_metrics(record: Record, role: str) -> dict[str, float]:
    """What MLflow shows as a run's metrics: the last value of each."""
    latest: dict[str, tuple[tuple[int, int], float]] = {}
    for entry in metrics(record, role):
        order = (entry.step, entry.timestamp)
        if entry.key not in latest or order >= latest[entry.key][0]:
            latest[entry.key] = (order, float(entry.value))
    return {name: value for name, (_, value) in latest.items()}


def own_metrics(tags: Mapping[str, str]) -> dict[str, str]:
    """Fingerprints of the metrics from outside the package that a run has scores of."""
    return {name.removeprefix(METRIC): it for name, it in tags.items() if name.startswith(METRIC)}


def undefined_scores(tags: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """What a run's tests gave no number for, as its record has it."""
    found: dict[str, dict[str, str]] = {}
    for name, text in tags.items():
        if name.startswith(UNDEFINED):
            _, split, score = name.split("/", 2)
            found.setdefault(split, {})[score] = text
    return found


def record_tags(trial: Trial, record: Record) -> dict[str, str]:
    """What a run is filtered by, beyond its identity."""
    return {
        **record.environment,
        "data_sha256": record.data_sha256,
        "weights_sha256": record.weights_sha256 or "none",
        "seed": str(trial.seed),
        **{f"{METRIC}{name}": digest for name, digest in trial.metrics.items()},
        **{
            f"{UNDEFINED}{split}/{name}": text
            for split, texts in record.undefined.items()
            for name, text in texts.items()
        },
        "mlflow.source.name": "equigrid",
        "mlflow.source.git.commit": record.environment["git_commit"],
    }
