"""Machines as they are: odd paths, other stores, users without a home, a closed terminal."""

from __future__ import annotations

import http.server
import json
import logging
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import spaces
from strangers import UNKNOWN, run_as, where_others_enter

from equigrid.commands import doctor
from equigrid.errors import StoreError
from equigrid.planning.workspace import Workspace
from equigrid.tracking.look import look
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer

RUN = ("run", "tiny.yaml", "--in-process")
NOTEBOOK = "module://matplotlib_inline.backend_inline"


@pytest.fixture
def finished(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished tiny run, to do with as one likes."""
    return Path(shutil.copytree(spaces.undisturbed(tmp_path_factory), tmp_path / "here"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "patience", 0.5)


def test_a_workspace_may_have_any_name(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    where = ("--workspace", "a #1?b=c%20d&e;ä")
    spaces.in_this_process(*RUN, *where, folder=tmp_path)
    said = spaces.in_this_process("verify", "tiny.yaml", *where, folder=tmp_path).stdout
    assert "all match" in said
    workspace = Workspace(tmp_path / where[1])
    assert [state for state, *_ in doctor._mlflow(workspace)] == ["ok"]
    # Nothing lies where a part of the name would lead.
    assert {it.name for it in tmp_path.iterdir()} == {"tiny.yaml", where[1]}


@pytest.fixture
def for_all(finished: Path) -> Iterator[Path]:
    """A folder where every user may write, with one row to train and a store for it."""
    content = spaces.space(seeds={"grid": [0], "final": [0]})
    content["rows"] = {"CNN": content["rows"]["CNN"] | {"grid": {"lr": [0.003]}}}
    del content["columns"]["plain"]
    spaces.write(finished / "one.yaml", content)
    with where_others_enter(finished) as copy:
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        yield copy


def test_neither_a_home_nor_a_name_nor_a_notebook_s_backend_is_needed(for_all: Path) -> None:
    run = ("run", "one.yaml", "--in-process")
    said = run_as(UNKNOWN, *run, folder=for_all, environ={"MPLBACKEND": NOTEBOOK})
    assert said.endswith("exit code 0"), said
    assert "not in MLflow yet" not in said
    assert "the report is not written" not in said
    assert (for_all / "workspace" / "reports" / "one" / "index.html").exists()


def test_a_table_is_not_lost_for_its_report(finished: Path) -> None:
    reports = finished / "workspace" / "reports"
    shutil.rmtree(reports)
    reports.touch()
    lines = spaces.in_this_process(*RUN, folder=finished, drawn=True).stdout.splitlines()
    table = next(n for n, line in enumerate(lines) if "Method" in line)
    (fault,) = (n for n, line in enumerate(lines) if "the report is not written" in line)
    assert fault > table
    assert str(reports) in lines[fault]


def test_an_mlflow_that_cannot_be_imported_costs_one_line(finished: Path, tmp_path: Path) -> None:
    broken = tmp_path / "first" / "mlflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise AttributeError('of another version')\n")
    path = os.pathsep.join([str(broken.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = spaces.equigrid(*RUN, folder=finished, environ={"PYTHONPATH": path})
    (line,) = (it for it in (done.stdout + done.stderr).splitlines() if "MLflow" in it)
    assert "not in MLflow yet" in line
    assert "AttributeError: of another version" in line
    code = "from equigrid.commands import doctor as it; it.NEEDED = ('mlflow.tracking',)"
    code += "; print(*it._imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=spaces.environment(PYTHONPATH=path),
    )  # fmt: skip
    assert "mlflow cannot be imported: AttributeError: of another version" in done.stdout


def test_a_store_that_mlflow_does_not_take_is_refused_before_any_work(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    for uri, said in (
        (f"file://{tmp_path}/runs", "MLFLOW_ALLOW_FILE_STORE=true"),
        ("localhost:5000", "localhost"),
        ("postgresql+nothing://h/db", "postgresql.nothing"),
    ):
        done = spaces.in_this_process(
            *RUN, folder=tmp_path, environ={"MLFLOW_TRACKING_URI": uri}, expect=2
        )
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"equigrid: MLFLOW_TRACKING_URI: {uri}: ")
        assert said in line
    assert not list((tmp_path / "workspace").rglob("*.h5"))


def test_a_folder_is_a_store_where_mlflow_takes_one(finished: Path) -> None:
    environ = {
        "MLFLOW_TRACKING_URI": (finished / "runs here").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    said = spaces.in_this_process(*RUN, folder=finished, environ=environ)
    assert "MLflow" not in said.stdout + said.stderr
    for command in (("verify",), ("tables", "--from-mlflow"), ("status",)):
        done = spaces.in_this_process(*command, "tiny.yaml", folder=finished, environ=environ)
        assert "MLflow cannot" not in done.stdout
    ((state, what, _),) = _with(environ, lambda: doctor._mlflow(Workspace(finished / "workspace")))
    assert state == "ok", what


def _with(environ: dict[str, str], call: Any) -> list[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return list(call())


@pytest.fixture
def old_server() -> Iterator[str]:
    """Answers as MLflow 1 does: there is no experiment, and no way to log inputs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "get-by-name" in self.path:
                self._say(404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST"}))
            else:
                self._say(200, "1.30.0")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            if "experiments/create" in self.path:
                self._say(200, json.dumps({"experiment_id": "1"}))
            else:
                self._say(404, "<title>404 Not Found</title>")

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.usefixtures("impatient")
def test_a_server_of_another_version_is_named_before_training_and_refuses_no_record(
    old_server: str, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"MLFLOW_TRACKING_URI": old_server, "no_proxy": "127.0.0.1"}
    with caplog.at_level(logging.INFO, "equigrid"):
        spaces.in_this_process(*RUN, folder=finished, environ=environ)
    said = [it.getMessage() for it in caplog.records if "MLflow" in it.getMessage()]
    assert len(said) == 2, said
    assert "of MLflow version 1.30.0, which does not take what version" in said[0]
    assert "not in MLflow yet" in said[1]
    assert not list((finished / "workspace" / "results").glob("*.refused.json"))
    ((state, what, remedy),) = _with(environ, lambda: doctor._mlflow(Workspace(finished)))
    assert (state, "1.30.0" in what, "update the server" in remedy) == ("problem", True, True)


def test_an_own_store_of_another_version_is_told(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import sqlite3

    store = finished / "workspace" / "mlflow.db"
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("update alembic_version set version_num = 'f00'")
    spaces.write(finished / "tiny.yaml", seeds={"grid": [0], "final": [0, 1, 2]})
    spaces.in_this_process("status", "tiny.yaml", folder=finished, expect=3)
    assert f"{store}: MlflowException: Detected out-of-date database schema" in caplog.text
    ((state, what, _),) = doctor._mlflow(Workspace(finished / "workspace"))
    assert (state, "out-of-date" in what) == ("problem", True)


def test_an_installed_mlflow_of_another_version_reads_anew(finished: Path) -> None:
    cache = finished / "workspace" / "results" / "tiny.tracked.json"
    content = json.loads(cache.read_text())
    from importlib.metadata import version

    assert version("mlflow") in content["stamp"]


@pytest.mark.usefixtures("impatient")
def test_passwords_of_a_store_are_not_shown(
    finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "postgresql://me:pa@canary-word@127.0.0.1:9/db"
    environ = {"MLFLOW_TRACKING_URI": uri}
    printed = ""
    with caplog.at_level(logging.INFO, "equigrid"):
        for command in (RUN, ("status", "tiny.yaml"), ("tables", "tiny.yaml", "--from-mlflow"),
                        ("doctor", "--repair-store"), ("ui",)):  # fmt: skip
            if command == ("ui",):
                environ = {"MLFLOW_TRACKING_URI": uri.replace("postgresql", "http")}
            done = spaces.in_this_process(*command, folder=finished, environ=environ, expect=None)
            printed += done.stdout + done.stderr
    printed += caplog.text + str(_with(environ, lambda: doctor._mlflow(Workspace(finished))))
    assert "127.0.0.1" in printed
    assert "canary" not in printed


def test_a_proxy_that_stands_between_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:canary@127.0.0.1:{spaces.free_port()}")
    with pytest.raises(StoreError, match="to ask it directly, add localhost to NO_PROXY") as caught:
        look(Store("http://localhost:5000", tmp_path, "tiny"))
    assert "canary" not in str(caught.value)


def test_a_port_that_is_taken_is_said_instead_of_the_address(finished: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = spaces.in_this_process("ui", "--port", port, folder=finished, expect=2)
    assert done.stdout == ""
    assert f"--port {port}: cannot be had at 127.0.0.1 (Address already in use)" in done.stderr


#: The kernel refuses locks, as it does on some network file systems: by a filter of system calls.
WITHOUT_LOCKS = """
import ctypes, struct, sys
load, is_flock, refuse = (0x20, 0, 0, 0), (0x15, 0, 1, 73), (0x06, 0, 0, 0x50000 | 37)
instructions = [load, is_flock, refuse, (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *it) for it in instructions))
program = ctypes.create_string_buffer(struct.pack("HP", len(instructions), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
from equigrid.cli import main
sys.argv[0] = "equigrid"
main()
"""


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="numbers of Linux on x86-64"
)
def test_a_file_system_without_locks_is_named_with_a_remedy(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCKS, *RUN], capture_output=True, text=True, check=False,
        cwd=tmp_path, env=spaces.environment(),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"no file locks at {tmp_path}/workspace/driver.lock" in line
    assert "--workspace" in line
