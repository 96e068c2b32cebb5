"""Every record is in MLflow once, whatever happens to writer and store."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import spaces
from rich.console import Console
from tracked_runs import content, identities, log, runs
from tracking_server import TrackingServer

from equigrid.commands.display import Display
from equigrid.config.experiment import load_experiment
from equigrid.orchestration.in_process import InProcess
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.stages.run import run as run_stages
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer
from equigrid.trial import Trial

pytestmark = pytest.mark.cluster


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Nobody else can read or write the store."""
    path = store.uri.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as database:
        database.execute("begin exclusive")
        yield
        database.execute("rollback")


WRITER = """
import sys
from pathlib import Path
from equigrid.record import Record
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer
uri, artifacts, experiment, *files = sys.argv[1:]
writer = Writer(Store(uri, Path(artifacts), experiment))
for file in map(Path, files):
    record = Record.load(file)
    writer.record(record.trial, record)
print("queued", flush=True)
writer.close()
"""


def test_an_error_while_a_record_is_settled_leaves_nobody_waiting(
    store: Store, records: list[Record], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was refused cannot be noted: the records are sent all the same."""
    (tmp_path / "no folder").touch()
    nowhere = replace(store, refusals=tmp_path / "no folder" / "refused.json")
    with caplog.at_level(logging.WARNING, "equigrid"):
        log(nowhere, records)
    assert "what MLflow refuses is not kept" in caplog.text
    assert set(identities(store).values()) == {1}


@pytest.mark.parametrize("error", [RuntimeError("of our own"), SystemExit(3)])
def test_an_error_that_is_no_store_s_is_told_and_waited_for_no_longer(
    error: BaseException, store: Store, records: list[Record]
) -> None:
    class Broken(Writer):
        def _tried(self, entry: object) -> bool:
            raise error

    writer = Broken(store)
    for record in records:
        writer.record(record.trial, record)
    writer.close()
    assert writer.unsent == len(records)
    assert type(error).__name__ in str(writer.error)


def test_a_thread_that_is_gone_is_not_waited_for(store: Store, records: list[Record]) -> None:
    class Dead(Writer):
        def _work(self) -> None:
            """Ends at once, whatever comes."""

    writer = Dead(store)
    for record in records:
        writer.record(record.trial, record)
    writer.close()
    assert writer.unsent == len(records)


def test_runs_left_by_a_killed_writer_are_used_again(
    store: Store, make_trial: Callable[..., Trial], tmp_path: Path
) -> None:
    everything = [spaces.made_up(make_trial(seed=seed), epochs=30) for seed in range(20)]
    files = [tmp_path / "records" / f"{record.key}.json" for record in everything]
    for record, file in zip(everything, files, strict=True):
        record.save(file)
    path = Path(store.uri.removeprefix("sqlite:///"))
    where = (store.uri, str(store.artifact_folder), "tiny")
    process = subprocess.Popen([sys.executable, "-c", WRITER, *where, *map(str, files)])
    try:
        # The parent is the first finished one.
        while not (_count(path, "RUNNING") and _count(path, "FINISHED") >= 3):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    left = _count(path, "RUNNING")
    assert 2 <= _count(path, "FINISHED") < 21
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
    """The writer is killed three times with several on their way, and the server once.

    The next writer looks at once: what the server does after that for the killed one is made good.
    """
    everything = [spaces.made_up(make_trial(seed=seed), epochs=30) for seed in range(36)]
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
                while _count(database, "FINISHED") < 3 + 8 * number:
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
            while _count(database, "FINISHED") < 28:
                time.sleep(0.01)
            server.kill()
            server.start_after(1.0)
        assert writer.unsent == 0, writer.error
        server.wait()
        assert Counter(run.info.status for run in runs(store)) == {"FINISHED": 37}
        assert set(identities(store).values()) == {1}
        tables = content(Store(f"sqlite:///{database}", tmp_path / "unused", "tiny"))
    assert len(tables["metrics"]) == len(everything) * (30 * 3 + 3 + 4)
    assert len(tables["inputs"]) == len(everything)


def test_a_run_made_twice_is_left_once(store: Store, records: list[Record], tmp_path: Path) -> None:
    """A killed writer's last request may come to pass after the next writer has looked."""
    from equigrid.tracking.session import Session

    log(store, records[:1])
    slow = Session(store)
    log(store, records)
    kept = {run.info.run_id for run in runs(store)}
    # It does not know that this run is there.
    slow._create_for(records[1].trial, 1.0, {})
    assert identities(store).most_common(1)[0][1] == 2
    Session(store)  # the next command
    assert {run.info.run_id for run in runs(store)} == kept
    # Should it live after all, it is refused, and finds the other run.
    refusals = tmp_path / "refusals.json"
    with closing(Writer(replace(store, refusals=refusals))) as writer:
        writer._session = slow
        writer.record(records[1].trial, records[1])
    assert writer.unsent == 0, writer.error
    assert {run.info.run_id for run in runs(store)} == kept
    assert not refusals.exists()


def _count(database: Path, status: str) -> int:
    """How many runs of a status a server's SQLite file has."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        question = "select count(*) from runs where status = ?"
        return int(connection.execute(question, [status]).fetchone()[0])


def test_a_store_that_was_left_half_made_is_no_obstacle(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # MLflow makes its tables in some fifty steps; killed in between, it cannot go on by itself.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no template of them is there
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
        ended = run_stages(ledger, lambda: InProcess(workspace, 0), display)
        assert ended.plan.is_complete
        return ended.ran

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
