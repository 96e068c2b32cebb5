"""What a record is in MLflow: names of tags, parameters and metrics, and the calls that log them.

Every step may be repeated: an existing run is found by its tags and used again, parameters and
metrics carry the record's own values and timestamps, so that nothing is stored twice.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import InputError
from pipeline.record import Record
from pipeline.tracking.database import make_store
from pipeline.tracking.store import Identity, identity_of
from pipeline.trial import Trial, data_key

PARENT = "parent"
#: Trainings shorter than this log at most MAX_POINTS of their epochs (the best and last always);
#: the full curve is in the record, an artifact of the run.
SHORT_SECONDS, MAX_POINTS = 60.0, 40


@dataclass
class Known:
    """Runs already in an experiment: id and status by identity."""

    runs: dict[Identity, tuple[str, str]]


def connect(uri: str) -> MlflowClient:
    if uri.startswith("sqlite:///") and "?" not in uri:  # with options it is no plain path
        make_store(Path(uri.removeprefix("sqlite:///")))
    return MlflowClient(tracking_uri=uri)


#: HTTP statuses by which a store says that it will not take what it was given.
REFUSED = (400, 404, 409, 413, 422)


def is_refusal(error: Exception) -> bool:
    """Whether an error is about what was sent, so that sending it again cannot help.

    Else it is about the store: it is out of reach, busy or broken, or wants other credentials.
    """
    if isinstance(error, MlflowException):
        of_database = isinstance(error.__cause__, SQLAlchemyError)
        return error.get_http_status_code() in REFUSED and not of_database
    return isinstance(error, InputError | ValueError | TypeError)


def experiment_id(client: MlflowClient, name: str, artifact_folder: Path, uri: str) -> str:
    """The experiment's id; made where there is none. A server places artifacts itself."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    local = uri.startswith("sqlite:")
    location = (artifact_folder / name).as_uri() if local else None
    # Without its kind the UI shows the pages for language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifact_location=location, tags=tags))


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


def known_runs(client: MlflowClient, experiment: str) -> Known:
    """Where a killed writer left two runs of one identity, the finished one counts."""
    runs: dict[Identity, tuple[str, str]] = {}
    for run in search(client, experiment):
        tags = run.data.tags
        if "role" not in tags:
            continue
        identity = (tags["row"], tags["dataset"], tags["role"], tags.get("run_key", ""))
        if identity not in runs or run.info.status == "FINISHED":
            runs[identity] = (run.info.run_id, run.info.status)
    return Known(runs)


def run_name(trial: Trial) -> str:
    """Short: row and dataset are the parent's name."""
    return f"{trial.role}  {trial.point()}  seed {trial.seed}".replace("    ", "  ")


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}", inner)
    else:
        yield prefix, str(value)


def parameters(trial: Trial) -> dict[str, str]:
    """The searched values first, then every setting by its dotted path."""
    flat = dict(trial.hyperparameters) | {"seed": trial.seed}
    params = {name: str(value) for name, value in flat.items()}
    for part in ("model", "objective", "training"):
        params |= dict(_flat(part, getattr(trial, part)))
    recipe = trial.data
    params |= dict(_flat("data", {**recipe["parameters"], "builder": recipe["builder"]}))
    params["data.group"] = str(recipe["group"])
    params |= {f"code.{name}": digest for name, digest in trial.all_code.items()}
    return params


def metrics(record: Record, role: str) -> list[Metric]:
    """The history by epoch, the best epoch's scores, and for a final those of the test splits."""
    entries: list[Metric] = []
    seconds, last = 0.0, len(record.history)
    stride = 1
    if sum(record.epoch_seconds) < SHORT_SECONDS:
        stride = -(-last // MAX_POINTS) or 1
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
        Metric(name, float(value), end, record.best_epoch) for name, value in summary.items()
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


def record_tags(trial: Trial, record: Record) -> dict[str, str]:
    """What a run is filtered by, beyond its identity."""
    return {
        **record.environment,
        "data_sha256": record.data_sha256,
        "weights_sha256": record.weights_sha256 or "none",
        "seed": str(trial.seed),
        "mlflow.source.name": "equigrid",
        "mlflow.source.git.commit": record.environment["git_commit"],
    }


def create_run(
    client: MlflowClient,
    experiment: str,
    known: Known,
    identity: Identity,
    name: str,
    started: float,
    tags: Mapping[str, str],
) -> str:
    """The run of an identity: the one a killed writer left, or a new one."""
    if identity in known.runs:
        return known.runs[identity][0]
    row, dataset, role, key = identity
    everything = {"row": row, "dataset": dataset, "role": role, **tags}
    if key:
        everything["run_key"] = key
    run = client.create_run(
        experiment, start_time=int(started * 1000), tags=everything, run_name=name
    )
    known.runs[identity] = (run.info.run_id, "RUNNING")
    return str(run.info.run_id)


def parent_of(
    client: MlflowClient, experiment: str, known: Known, trial: Trial, started: float
) -> str:
    """The run that a row's and dataset's trials are nested under."""
    identity = (trial.row, trial.dataset, PARENT, "")
    is_new = identity not in known.runs
    run = create_run(
        client, experiment, known, identity, f"{trial.row} / {trial.dataset}", started, {}
    )
    if is_new:
        client.set_terminated(run, "FINISHED", end_time=int(started * 1000))
    return run


def log_record(
    client: MlflowClient, experiment: str, known: Known, trial: Trial, source: Record | Path
) -> bool:
    """Log a record as the run of the trial (its role decides about test metrics).

    Like its siblings below it says whether a trial's run changed.
    """
    identity = identity_of(trial)
    if known.runs.get(identity, ("", ""))[1] == "FINISHED":
        return False
    record = Record.load(source) if isinstance(source, Path) else source
    had_failed = known.runs.get(identity, ("", ""))[1] == "FAILED"
    parent = parent_of(client, experiment, known, trial, record.started)
    run = create_run(
        client, experiment, known, identity,
        run_name(trial), record.started, {"mlflow.parentRunId": parent},
    )  # fmt: skip
    try:
        _send(client, run, trial, record)
    except Exception as error:
        if is_refusal(error):  # else it would count as running for ever
            client.set_tag(run, "failure", f"its record is refused: {error}"[:5000])
            client.set_terminated(run, "FAILED")
        raise
    if had_failed:
        client.delete_tag(run, "failure")
    end = int((record.started + sum(record.epoch_seconds)) * 1000)
    client.set_terminated(run, "FINISHED", end_time=end)
    known.runs[identity] = (run, "FINISHED")
    return True


def _send(client: MlflowClient, run: str, trial: Trial, record: Record) -> None:
    client.log_batch(
        run,
        metrics=metrics(record, trial.role),
        params=[Param(name, value) for name, value in parameters(trial).items()],
        tags=[RunTag(name, value) for name, value in record_tags(trial, record).items()],
    )
    recipe = trial.data
    dataset = Dataset(
        name=f"{recipe['builder']} {recipe['group']}",
        digest=record.data_sha256[:36],
        source_type="code",
        source=data_key(recipe),
    )
    context = [InputTag("mlflow.data.context", "training")]
    client.log_inputs(run, datasets=[DatasetInput(dataset=dataset, tags=context)])
    log_text(client, run, "record.json", record.to_json())


def log_failure(
    client: MlflowClient, experiment: str, known: Known, trial: Trial, reason: str, started: float
) -> bool:
    """Log a trial that was given up as a failed run with its reason."""
    identity = identity_of(trial)
    if known.runs.get(identity, ("", ""))[1] in ("FINISHED", "FAILED"):
        return False
    parent = parent_of(client, experiment, known, trial, started)
    run = create_run(
        client, experiment, known, identity,
        run_name(trial), started, {"mlflow.parentRunId": parent},
    )  # fmt: skip
    client.log_batch(
        run,
        params=[Param(name, value) for name, value in parameters(trial).items()],
        tags=[RunTag("failure", reason[:5000])],
    )
    client.set_terminated(run, "FAILED")
    known.runs[identity] = (run, "FAILED")
    return True


def log_summary(
    client: MlflowClient,
    experiment: str,
    known: Known,
    group: tuple[str, str],
    tags: Mapping[str, str],
    means: Mapping[str, float],
    seeds: int,
    stamp: float,
) -> bool:
    """On the parent of a row and dataset: what was selected, and the mean test scores.

    stamp: when the last of the averaged trainings ended; repeating the call stores nothing new.
    """
    row, dataset = group
    parent = known.runs.get((row, dataset, PARENT, ""))
    if parent is None:
        return False
    client.log_batch(
        parent[0],
        metrics=[Metric(name, value, int(stamp * 1000), seeds) for name, value in means.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    return False


def log_table(
    client: MlflowClient,
    experiment: str,
    known: Known,
    tags: Mapping[str, str],
    files: Mapping[str, Path],
    digest: str,
) -> bool:
    """Keep the newest table and its report as artifacts of one run named `table`."""
    identity = ("", "", "table", "")
    run = create_run(client, experiment, known, identity, "table", time.time(), {})
    if client.get_run(run).data.tags.get("table_sha256") == digest:
        return False
    for place, file in files.items():
        client.log_artifact(run, str(file), place.rpartition("/")[0] or None)
    for name, value in {**tags, "table_sha256": digest}.items():
        client.set_tag(run, name, value)
    client.set_terminated(run, "FINISHED")
    return False


def log_text(client: MlflowClient, run: str, name: str, text: str) -> None:
    """An artifact from text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text, "utf-8")
        client.log_artifact(run, str(path))
