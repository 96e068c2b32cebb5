"""Stores that refuse a record, are damaged, moved, out of reach or not to be written."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import spaces
from strangers import NOBODY, run_as, where_others_enter
from tracking_server import TrackingServer

from equigrid.commands import doctor
from equigrid.config.experiment import load_experiment
from equigrid.errors import StoreError
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.tracking.cache import load_tracked
from equigrid.tracking.database import damage
from equigrid.tracking.look import look
from equigrid.tracking.store import Store, read_refusals
from equigrid.tracking.writer import Writer


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished tiny run, to do with as one likes; its artifacts follow it."""
    folder = tmp_path / "here"
    shutil.copytree(spaces.undisturbed(tmp_path_factory), folder)
    return folder


def _alter(path: Path, name: str) -> None:
    """A record with one more score, whose name MLflow does not take."""
    data = json.loads(path.read_text())
    for row in (*data["history"], data["validation"]):
        row[name] = 0.5
    path.write_text(json.dumps(data))
    Record.load(path)


def _records(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in (folder / "workspace" / "records").glob("*.json")
        if json.loads(path.read_text())["history"]
    )


def test_a_refused_record_is_set_aside_and_the_others_go_on(finished: Path) -> None:
    (finished / "workspace" / "mlflow.db").unlink()
    shutil.rmtree(finished / "workspace" / "artifacts")
    path = _records(finished)[1]
    sound = path.read_text()
    _alter(path, "val_odd[%]")
    run = ("run", "tiny.yaml", "--in-process")
    done = spaces.in_this_process(*run, folder=finished, expect=3)
    assert "MLflow refuses" in done.stdout
    assert "val_odd[%]" in done.stdout
    workspace = Workspace(finished / "workspace")
    plan = Ledger(load_experiment(str(finished / "tiny.yaml")), workspace).known()
    assert plan.tracked is not None
    refused = {identity[-1] for identity in plan.refused}
    assert refused == {path.stem}
    finished_keys = {t.key for t in plan.all_trials()}
    assert set(plan.tracked.results) == finished_keys - refused

    said = spaces.in_this_process("status", "tiny.yaml", folder=finished, expect=3).stdout
    assert "MLflow refuses" in said
    assert "complete" not in said
    said = spaces.in_this_process("verify", "tiny.yaml", folder=finished, expect=1).stdout
    assert "MLflow refuses it: " in said
    assert "recorded, not tracked" not in said

    # Mended, it is taken by the next run.
    path.write_text(sound)
    spaces.in_this_process(*run, folder=finished)
    assert read_refusals(workspace.refusals_file("tiny")) == {}
    assert "all match" in spaces.in_this_process("verify", "tiny.yaml", folder=finished).stdout


@pytest.mark.cluster
def test_a_server_s_refusal_is_one_too(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _records(finished)[0]
    _alter(path, "val_odd[%]")
    with TrackingServer(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        workspace = Workspace(finished / "workspace")
        experiment = load_experiment(str(finished / "tiny.yaml"))
        ledger = Ledger(experiment, workspace)
        plan = ledger.known()
        with closing(Writer(ledger.store)) as writer:
            for trial in plan.all_trials():
                writer.record(trial, workspace.record_file(trial.key))
        assert writer.unsent == 0
        tracked = load_tracked(ledger.store, tmp_path / "cache")
        assert {key for *_, key in read_refusals(workspace.refusals_file("tiny"))} == {path.stem}
        assert len(tracked.results) == len({t.key for t in plan.all_trials()}) - 1


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(5000, len(data), 61):
        data[place] ^= 0xFF
    path.write_bytes(data)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_flip, _truncate, lambda path: path.write_bytes(b"no " * 999)])
def test_a_damaged_store_is_named_and_written_anew(
    damage: Callable[[Path], object], finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = finished / "workspace" / "mlflow.db"
    tables = spaces.tables(finished / "workspace")
    damage(store)
    broken = store.read_bytes()
    for command, code in (("tables", 0), ("run", 0), ("status", 0), ("verify", 2)):
        more = ("--in-process",) if command == "run" else ()
        caplog.clear()
        done = spaces.in_this_process(command, "tiny.yaml", *more, folder=finished, expect=code)
        said = done.stdout + done.stderr + caplog.text
        assert f"{store} is damaged: " in said, command
        assert "records are whole" in said
        assert "equigrid doctor --repair-store" in said
    (problem,) = doctor._mlflow(Workspace(finished / "workspace"))
    assert problem[0] == "problem"
    assert f"{store} is damaged: " in problem[1]
    assert "equigrid doctor --repair-store" in problem[2]
    assert spaces.tables(finished / "workspace") == tables
    if damage is not _flip:
        return  # how it is mended does not depend on what was wrong
    # Each in a process of its own: MLflow keeps a store open as long as its process lives.
    done = spaces.forked("doctor", "--repair-store", folder=finished)
    assert "records tracked anew" in done.stdout
    assert (store.parent / "mlflow.db.damaged-1").read_bytes() == broken
    spaces.forked("run", "tiny.yaml", "--in-process", folder=finished)
    assert "all match" in spaces.forked("verify", "tiny.yaml", folder=finished).stdout
    assert spaces.tables(finished / "workspace") == tables


def test_whatever_is_overwritten_the_file_is_named(finished: Path) -> None:
    """Also where the damage is in SQLite's own words, which are no text then."""
    workspace = Workspace(finished / "workspace")
    path = workspace.root / "mlflow.db"
    whole = path.read_bytes()
    found = [it.start() for it in re.finditer(b"CREATE (TABLE|INDEX)", whole)]
    assert len(found) > 50
    for start in found[::4]:
        path.write_bytes(whole[: start - 40] + b"\x8d" * 200 + whole[start + 160 :])
        said = damage(workspace.store("tiny"))
        assert said.startswith(f"{path} is damaged: ")
        assert "equigrid doctor --repair-store" in said
        with pytest.raises(StoreError, match=re.escape(str(path))):
            look(workspace.store("tiny"))


@pytest.fixture
def readable(finished: Path) -> Iterator[Path]:
    """The same where every user may read and nobody write."""
    with where_others_enter(finished) as copy:
        for path in copy.rglob("*"):
            path.chmod(path.stat().st_mode & ~0o222 | (0o555 if path.is_dir() else 0o444))
        copy.chmod(0o555)
        yield copy


def test_what_only_reads_works_where_nothing_can_be_written(readable: Path) -> None:
    before = _but_results(readable)
    for cached in (readable / "workspace" / "results").glob("*.json"):
        cached.unlink()
    for command in ("verify", "status", "show"):
        more = ("Ours/plain",) if command == "show" else ()
        said = run_as(NOBODY, command, "tiny.yaml", *more, folder=readable)
        assert said.endswith("exit code 0"), said
        if command == "verify":
            assert "all match" in said
    assert _but_results(readable) == before


def _but_results(folder: Path) -> dict[str, bytes]:
    """What lies there besides what is derived."""
    found = spaces.tree(folder, ["workspace"])
    return {name: content for name, content in found.items() if "/results/" not in name}


def test_a_store_that_cannot_be_written_is_named(readable: Path) -> None:
    workspace = readable / "workspace"
    workspace.chmod(0o777)
    for path in workspace.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o666)
    (workspace / "mlflow.db").chmod(0o444)
    readable.joinpath("tiny.yaml").chmod(0o644)
    spaces.write(readable / "tiny.yaml", seeds={"grid": [0], "final": [0, 1, 2]})
    said = run_as(NOBODY, "run", "tiny.yaml", "--in-process", folder=readable)
    said = " ".join(said.split())  # a long line is wrapped
    assert f"{workspace}/mlflow.db cannot be written; the records are whole" in said
    assert "equigrid doctor --repair-store" in said
    assert "Traceback" not in said
    assert said.endswith("exit code 0")


@pytest.mark.parametrize("copied", [False, True])
def test_artifacts_follow_a_workspace(copied: bool, finished: Path, tmp_path: Path) -> None:
    """Moved it has them still; a copy has its own, whatever becomes of the original's."""
    # Made where it is now, not by the copying of the fixture.
    spaces.in_this_process("doctor", "--repair-store", folder=finished)
    spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=finished)
    other = tmp_path / "elsewhere"
    if copied:
        shutil.copytree(finished, other)
        for record in (finished / "workspace" / "artifacts").rglob("record.json"):
            record.write_text("{}")
    else:
        finished.rename(other)
    assert "all match" in spaces.in_this_process("verify", "tiny.yaml", folder=other).stdout
    # What MLflow itself says, and so its pages show, after the next command that writes.
    spaces.write(other / "tiny.yaml", seeds={"grid": [0], "final": [0, 1, 2]})
    spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=other)
    assert "all match" in spaces.in_this_process("verify", "tiny.yaml", folder=other).stdout
    from equigrid.tracking.runs import connect, search

    client = connect(Workspace(other / "workspace").tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment.artifact_location == (other / "workspace" / "artifacts" / "tiny").as_uri()
    runs = list(search(client, experiment.experiment_id))
    assert len(runs) > 10
    assert all(run.info.artifact_uri.startswith(experiment.artifact_location) for run in runs)


@contextmanager
def _answering(answer: Callable[[Any], tuple[int, str]]) -> Iterator[str]:
    """A server of one page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_bearer_token_reads_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from equigrid.tracking.cache import stamp
    from equigrid.tracking.server import ask

    def answer(request: Any) -> tuple[int, str]:
        if request.headers.get("Authorization") != "Bearer a-secret":
            return 401, "who?"
        return 200, json.dumps({"experiment": {"experiment_id": "7", "tags": []}})

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with _answering(answer) as uri:
        store = Store(uri, tmp_path, "tiny")
        assert ask(uri, "/health").status_code == 401
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-secret")
        assert stamp(store) == ["7", ""]


def test_a_server_that_is_gone_costs_one_line(
    finished: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a wait that is bounded: the attempts are counted, not the seconds."""
    uri = f"http://127.0.0.1:{spaces.free_port()}"
    environ = {"MLFLOW_TRACKING_URI": uri}
    done = spaces.forked("run", "tiny.yaml", "--in-process", folder=finished, environ=environ)
    said = (done.stdout + done.stderr).splitlines()
    assert len([line for line in said if "MLflow" in line or "retry" in line.lower()]) == 2
    assert any("MLflow cannot be used" in line for line in said)
    assert any("entries are not in MLflow yet" in line for line in said)
    done = spaces.forked("status", "tiny.yaml", folder=finished, environ=environ, expect=0)
    assert len([line for line in done.stdout.splitlines() if "cannot be read" in line]) == 1
