"""MLflow: a run per trial, written from its record, once, whatever happens to writer and store."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import spaces
from rich.console import Console
from tracking_server import TrackingServer

from pipeline.cli.display import Display
from pipeline.config.experiment import load_experiment
from pipeline.orchestration.in_process import InProcess
from pipeline.planning.ledger import Ledger
from pipeline.planning.workspace import Workspace
from pipeline.record import Record
from pipeline.tracking.store import Store
from pipeline.tracking.writer import Writer
from pipeline.trial import Trial
from stages.run import run as run_stages

pytestmark = pytest.mark.cluster

TESTED = {
    "test": {"loss": 0.7, "accuracy": 0.625},
    "test_augmented": {"loss": 0.9, "accuracy": 0.5},
}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with its tables made, which takes seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts", "tiny")


@pytest.fixture
def records(make_trial: Callable[..., Trial]) -> list[Record]:
    """Two grid trials, and the better one's final and a second seed."""
    grid = [make_trial(strength=0.5), make_trial(strength=2.0)]
    finals = [
        make_trial(strength=0.5, role="final"),
        make_trial(strength=0.5, seed=1, role="final"),
    ]
    return [spaces.made_up(it) for it in grid] + [spaces.made_up(it, TESTED) for it in finals]


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


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Nobody else can read or write the store."""
    path = store.uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("begin exclusive")
        yield
        database.execute("rollback")


def test_every_trial_is_a_run_nested_under_its_row_and_dataset(
    store: Store, records: list[Record], make_trial: Callable[..., Trial]
) -> None:
    other = spaces.made_up(make_trial(row="CNN"))
    log(store, [*records, other])
    found = runs(store)
    assert {run.info.status for run in found} == {"FINISHED"}
    parents = {run.info.run_id: run for run in found if run.data.tags["role"] == "parent"}
    named = {run.data.tags["row"]: run_id for run_id, run in parents.items()}
    assert set(named) == {"Ours", "CNN"}
    assert {run.info.run_name for run in parents.values()} == {"Ours / D1", "CNN / D1"}
    children = [run for run in found if run.info.run_id not in parents]
    assert len(children) == 5
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == named[run.data.tags["row"]]
    assert set(identities(store).values()) == {1}


def test_a_run_says_everything_of_its_trial(store: Store, records: list[Record]) -> None:
    from mlflow.tracking import MlflowClient

    log(store, records)
    client = MlflowClient(store.uri)
    by_identity = {(it.data.tags["role"], it.data.tags.get("run_key")): it for it in runs(store)}
    for record in records:
        trial = record.trial
        run = by_identity[trial.role, record.key]
        # The values somebody filters by, and every setting by its path.
        assert run.data.params.items() >= {
            "lr": "0.003", "lambda": str(trial.hyperparameters["lambda"]), "seed": str(trial.seed),
            "model.name": "small_cnn", "model.width": "4", "model.latent": "10",
            "objective.name": "regular_representation", "objective.task_weights": "paper",
            "training.epochs": "4", "training.batch_size": "20",
            "data.builder": "ddmnist", "data.group": "D1xD1", "data.source": "digits",
        }.items()  # fmt: skip
        assert run.data.tags.items() >= {
            "row": "Ours", "dataset": "D1", "role": trial.role, "run_key": record.key,
            "data_sha256": record.data_sha256, "weights_sha256": "e" * 64,
            "seed": str(trial.seed), **record.environment,
        }.items()  # fmt: skip
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.digest == record.data_sha256[:36]
        assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training"}
        # The history, by epoch, at the times that the record has.
        for name in record.history[0]:
            history = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [
                (epoch, row[name]) for epoch, row in enumerate(record.history, 1)
            ]
            assert [m.timestamp for m in history] == [
                int((record.started + 0.125 * epoch) * 1000) for epoch in (1, 2, 3)
            ]
        assert run.data.metrics["best_val_accuracy"] == record.validation["val_accuracy"]
        assert run.data.metrics["best_epoch"] == record.best_epoch
        assert run.data.metrics["parameters"] == record.parameters
        assert run.info.start_time == int(record.started * 1000)
        artifact = client.download_artifacts(run.info.run_id, "record.json")
        assert Path(artifact).read_text() == record.to_json()


def test_only_finals_have_test_scores(store: Store, records: list[Record]) -> None:
    # The final's record, tested, is also the grid trial's: its run must not tell.
    log(store, [replace(records[2], trial=records[0].trial), *records[1:]])
    for run in runs(store):
        tests = {name: it for name, it in run.data.metrics.items() if name.startswith("test/")}
        if run.data.tags["role"] == "final":
            assert tests == {
                f"test/{split}/{name}": value
                for split, scores in TESTED.items()
                for name, value in scores.items()
            }
        else:
            assert tests == {}


def test_logging_twice_changes_nothing(store: Store, records: list[Record]) -> None:
    log(store, records)
    before = content(store)
    log(store, records)
    log(store, records[::-1])
    assert content(store) == before


def test_a_failure_is_a_failed_run_with_its_reason(store: Store, records: list[Record]) -> None:
    trial = records[0].trial
    for _ in range(2):
        with closing(Writer(store)) as writer:
            writer.failure(trial, "RuntimeError: λ is too large")
    (run,) = (run for run in runs(store) if run.data.tags["role"] == "grid")
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "RuntimeError: λ is too large"
    assert run.data.params["lambda"] == "0.5"
    # Run again with success, it is the same run.
    log(store, records[:1])
    (again,) = (run for run in runs(store) if run.data.tags["role"] == "grid")
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert "failure" not in again.data.tags


def test_what_is_read_back_is_what_was_recorded(store: Store, records: list[Record]) -> None:
    from pipeline.record import Result
    from pipeline.tracking import query

    assert query.read(store).results == {}
    log(store, records)
    with closing(Writer(store)) as writer:
        writer.failure(replace(records[0].trial, seed=9), "it broke")
    tracked = query.read(store)
    assert dict(tracked.results) == {
        records[2].key: Result.of(records[2]),  # the grid's record of this key has no test
        records[1].key: Result.of(records[1]),
        records[3].key: Result.of(records[3]),
    }
    assert list(tracked.failures.values()) == ["it broke"]
    identity = ("Ours", "D1", "final", records[2].key)
    fetched = query.fetch_record(store, tracked.runs[identity].run_id, Path(store.artifact_folder))
    assert fetched == records[2]


WRITER = """
import sys
from pathlib import Path
from pipeline.record import Record
from pipeline.tracking.store import Store
from pipeline.tracking.writer import Writer
uri, artifacts, experiment, *files = sys.argv[1:]
writer = Writer(Store(uri, Path(artifacts), experiment))
for file in map(Path, files):
    record = Record.load(file)
    writer.record(record.trial, record)
print("queued", flush=True)
writer.close()
"""


def test_runs_left_by_a_killed_writer_are_used_again(
    store: Store, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    everything = [spaces.made_up(make_trial(seed=seed), epochs=30) for seed in range(20)]
    files = [tmp_path / "records" / f"{record.key}.json" for record in everything]
    for record, file in zip(everything, files, strict=True):
        record.save(file)
    path = store.uri.removeprefix("sqlite:///")

    def count(condition: str) -> int:
        with closing(sqlite3.connect(path, timeout=30)) as database:
            question = f"select count(*) from runs where {condition}"
            return int(database.execute(question).fetchone()[0])

    where = (store.uri, str(store.artifact_folder), "tiny")
    process = subprocess.Popen([sys.executable, "-c", WRITER, *where, *map(str, files)])
    try:
        # The parent is the first finished one.
        while not (count("status = 'RUNNING'") and count("status = 'FINISHED'") >= 3):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    left = count("status = 'RUNNING'")
    assert 2 <= count("status = 'FINISHED'") < 21
    log(store, everything)
    found = runs(store)
    assert len(found) == 21
    assert {run.info.status for run in found} == {"FINISHED"}
    assert set(identities(store).values()) == {1}
    tables = content(store)
    # Nothing of the half-written run is there twice.
    points = len(everything) * (30 * 3 + 3 + 4)
    assert len(tables["metrics"]) == points
    assert len(tables["inputs"]) == len(everything)
    assert left <= 1


def test_a_server_gets_records_side_by_side_and_each_once(
    make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    """The writer is killed three times with several on their way, and the server once."""
    everything = [spaces.made_up(make_trial(seed=seed), epochs=30) for seed in range(60)]
    files = [tmp_path / "records" / f"{record.key}.json" for record in everything]
    for record, file in zip(everything, files, strict=True):
        record.save(file)
    with TrackingServer(tmp_path / "server") as server:
        store = Store(server.uri, tmp_path / "unused", "tiny")
        database = tmp_path / "server" / "mlflow.db"
        where = (store.uri, str(store.artifact_folder), "tiny")
        on_their_way = []
        for number in range(3):
            process = subprocess.Popen([sys.executable, "-c", WRITER, *where, *map(str, files)])
            try:
                while _count(database, "FINISHED") < 4 + 12 * number:
                    assert process.poll() is None, "it ended before it could be killed"
                    time.sleep(0.01)
            finally:
                process.kill()
                process.wait()
            on_their_way.append(_count(database, "RUNNING"))
        assert max(on_their_way) >= 2
        with closing(Writer(store)) as writer:
            writer.patience = 120.0
            for record in everything:
                writer.record(record.trial, record)
            while _count(database, "FINISHED") < 45:
                time.sleep(0.01)
            server.kill()
            server.start_after(1.0)
        assert writer.unsent == 0, writer.error
        server.wait()
        assert Counter(run.info.status for run in runs(store)) == {"FINISHED": 61}
        assert set(identities(store).values()) == {1}
        tables = content(Store(f"sqlite:///{database}", tmp_path / "unused", "tiny"))
    assert len(tables["metrics"]) == len(everything) * (30 * 3 + 3 + 4)
    assert len(tables["inputs"]) == len(everything)


def _count(database: Path, status: str) -> int:
    """How many runs of a status a server's SQLite file has."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        question = "select count(*) from runs where status = ?"
        return int(connection.execute(question, [status]).fetchone()[0])


def test_a_store_that_was_left_half_made_is_no_obstacle(
    records: list[Record], tmp_path: Path
) -> None:
    # MLflow makes its tables in some fifty steps; killed in between, it cannot go on by itself.
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts", "tiny")
    file = tmp_path / "record.json"
    records[0].save(file)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, store.uri, str(store.artifact_folder), "tiny", str(file)],
        stderr=subprocess.DEVNULL,
    )
    steps: set[str] = set()
    try:
        while len(steps) < 5:
            assert process.poll() is None, "it ended before it could be killed"
            for path in (tmp_path / ".mlflow.db.new", tmp_path / "mlflow.db"):
                if not path.exists():
                    continue
                with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:
                    steps |= set(database.execute("select version_num from alembic_version"))
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    log(store, records)
    assert set(identities(store).values()) == {1}
    assert len(runs(store)) == 5


def test_writers_share_a_store_that_none_of_them_has_made(
    records: list[Record], tmp_path: Path
) -> None:
    """Four runs begin at once, each its own experiment, on one SQLite file that is not there."""
    uri, artifacts = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    files = [tmp_path / "records" / f"{n}.json" for n, _ in enumerate(records)]
    for record, file in zip(records, files, strict=True):
        record.save(file)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, uri, str(artifacts), f"writer{n}", *map(str, files)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for n in range(4)
    ]  # fmt: skip
    ended = [(it.communicate(timeout=spaces.PATIENCE), it.returncode) for it in writers]
    assert [code for _, code in ended] == [0] * 4, ended
    assert [errors for (_, errors), _ in ended if "not in MLflow yet" in errors] == []
    once = None
    for n in range(4):
        store = Store(uri, artifacts, f"writer{n}")
        assert set(identities(store).values()) == {1}
        found = sorted(identities(store))
        assert found == (once := once or found)
        assert len(found) == len(records) + 1  # their parent
        assert {run.info.status for run in runs(store)} == {"FINISHED"}


def test_records_wait_while_the_store_is_down(store: Store, records: list[Record]) -> None:
    writer = Writer(store)
    with locked(store):
        begun = time.monotonic()
        for record in records:
            writer.record(record.trial, record)
        # Who records does not wait.
        assert time.monotonic() - begun < 1
        deadline = time.monotonic() + spaces.PATIENCE
        while writer.error is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "locked" in str(writer.error)
    writer.close()
    assert writer.unsent == 0
    assert len(identities(store)) == 5
    assert set(identities(store).values()) == {1}
    once = content(store)
    log(store, records)
    assert content(store) == once


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:///{garbage}"])
def test_a_run_goes_on_without_its_store_and_the_next_sends_everything_once(
    uri: str,
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"this is no database" * 100)
    experiment = load_experiment(str(spaces.write(tmp_path / "tiny.yaml")))
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    shutil.copy(empty_store, workspace.root / "mlflow.db")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(Writer, "patience", 0.5)

    def go() -> int:
        display = Display(Console(file=StringIO()))
        ledger = Ledger(experiment, workspace)
        plan, _, ran = run_stages(ledger, lambda: InProcess(workspace, 0), display)
        assert plan.is_complete
        return ran

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(garbage=garbage))
    with caplog.at_level(logging.WARNING, "equigrid"):
        assert go() == 4 + 5
    assert "are not in MLflow yet" in caplog.text
    assert "safe in the workspace" in caplog.text
    before = spaces.tree(workspace.root, ("records", "tables"))

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setattr(Writer, "patience", 60.0)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "equigrid"):
        assert go() == 0
    assert not caplog.records
    assert spaces.tree(workspace.root, ("records", "tables")) == before
    store = Store(workspace.tracking_uri, workspace.artifact_folder, "tiny")
    found = identities(store)
    assert set(found.values()) == {1}
    # 4 grid trials, 5 finals, 3 parents, the table.
    assert Counter(role for _, _, role, _ in found) == {
        "grid": 4, "final": 5, "parent": 3, "table": 1
    }  # fmt: skip


def test_the_table_from_mlflow_alone_is_the_table_from_records(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = spaces.undisturbed(tmp_path_factory)
    shutil.copy(done / "tiny.yaml", tmp_path)
    spaces.equigrid(
        "tables", "tiny.yaml", "--from-mlflow", folder=tmp_path,
        environ={"MLFLOW_TRACKING_URI": f"sqlite:///{done / 'workspace' / 'mlflow.db'}"},
    )  # fmt: skip
    assert not (tmp_path / "workspace" / "records").exists()
    assert spaces.tables(tmp_path / "workspace") == spaces.tables(done / "workspace")
