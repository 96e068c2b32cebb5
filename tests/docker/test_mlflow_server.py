"""mlflow-server.sh, started for real against a PostgreSQL of its own."""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import postgres
import pytest
import spaces

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docker" / "scripts"
#: Longer than any wait that goes well; a machine may be busy.
PATIENCE = 120.0
#: Whatever a generator or a person may put into a secret: it must work, and be seen nowhere.
SECRETS = {
    "POSTGRES_PASSWORD": "canary-database-%s:@/ #'\"",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "canary-administrator-%(x)s:@/",
    "MLFLOW_TRACKING_PASSWORD": "canary-jobs-%%$HOME`id`",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "canary-form-key",
}


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.25)


def end(process: subprocess.Popen[str], how: signal.Signals) -> None:
    """Politely, then the whole group; what was started here is not left behind."""
    process.send_signal(how)
    try:
        process.wait(20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def database() -> Iterator[int]:
    """The port of an empty PostgreSQL server; it does not run as root."""
    if reason := postgres.is_missing():
        pytest.skip(reason)
    # Not below pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="equigrid-postgres-"))
    port, log = spaces.free_port(), folder / "log"
    run = postgres.make(folder, SECRETS["POSTGRES_PASSWORD"])
    settings = ["-clisten_addresses=127.0.0.1", "-cfsync=off"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*run, "-p", str(port), *settings],
            stdout=output, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True, text=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "ready to accept connections" in log.read_text(), server, log)
        yield port
    finally:
        end(server, signal.SIGINT)
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    port: int
    log: Path
    temporary: Path
    environment: dict[str, str]

    def ask(
        self, path: str, user: tuple[str, str] | None = None, host: str = "", body: object = None
    ) -> int:
        """The status of an answer; a POST where there is a body."""
        headers = {"Host": host or f"127.0.0.1:{self.port}", "Content-Type": "application/json"}
        if user:
            token = base64.b64encode(":".join(user).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "GET" if body is None else "POST", path, body and json.dumps(body), headers
            )
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def group(self) -> list[int]:
        """The processes of the server."""
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [number for number in numbers if self._is_ours(number)]

    def _is_ours(self, number: int) -> bool:
        try:
            return os.getpgid(number) == self.process.pid
        except ProcessLookupError:
            return False


@pytest.fixture(scope="module")
def server(database: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    for module in ("flask_wtf", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: mlflow[auth] and psycopg2-binary are needed")
    folder = tmp_path_factory.mktemp("mlflow")
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(database),
        "POSTGRES_DB": "postgres",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_TRACKING_USERNAME": "jobs",
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_PORT": str(port := spaces.free_port()),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_AUTH_CACHE_SECONDS": "1",
    }
    for name, value in SECRETS.items():
        (folder / name).write_text(value + "\n")
        environment[f"{name}_FILE"] = str(folder / name)
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [SCRIPTS / "mlflow-server.sh"], env=environment, cwd=folder, text=True,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    server = Server(process, port, log, folder, environment)
    try:
        wait_until(lambda: server.ask("/health") == 200, process, log)
        yield server
    finally:
        end(process, signal.SIGTERM)


def test_the_server_tracks_for_those_it_knows_and_tells_nobody_its_secrets(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, for one start: a server takes long to start, and little to ask."""
    search = "/api/2.0/mlflow/experiments/search?max_results=5"
    create = "/api/2.0/mlflow/experiments/create"
    admin = ("admin", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])
    jobs = ("jobs", SECRETS["MLFLOW_TRACKING_PASSWORD"])

    assert server.ask(search) == 401
    assert server.ask("/") == 401
    assert server.ask(search, ("admin", "password1234")) == 401
    assert server.ask(search, admin) == 200
    assert server.ask(search, jobs) == 200
    assert server.ask(search, admin, host="attacker.example") == 403
    assert server.ask(search, admin, host=f"localhost:{server.port}") == 200

    # Jobs read what others made and change nothing of it; they make no accounts.
    assert server.ask(create, admin, body={"name": "of the administrator"}) == 200
    assert server.ask("/api/2.0/mlflow/experiments/get?experiment_id=1", jobs) == 200
    renamed = {"experiment_id": "1", "new_name": "mine now"}
    assert server.ask("/api/2.0/mlflow/experiments/update", jobs, body=renamed) == 403
    account = {"username": "third", "password": "a long enough one"}
    assert server.ask("/api/2.0/mlflow/users/create", jobs, body=account) == 403

    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", jobs[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", jobs[1])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = MlflowClient(f"http://127.0.0.1:{server.port}")
    run = client.create_run(client.create_experiment("of the jobs")).info
    assert run.artifact_uri.startswith("mlflow-artifacts:")
    client.log_text(run.run_id, "kept", "folder/note.txt")
    fetched = Path(client.download_artifacts(run.run_id, "folder/note.txt", str(server.temporary)))
    assert fetched.read_text() == "kept"
    (stored,) = (server.temporary / "artifacts").rglob("note.txt")
    assert stored.read_text() == "kept"

    (settings,) = server.temporary.glob("mlflow-auth.*/basic_auth.ini")
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700
    processes = [Path("/proc", str(number)) for number in server.group()]
    shown = settings.read_text() + server.log.read_text()
    shown += "".join((process / "cmdline").read_text() for process in processes)
    assert "--app-name" in shown
    assert "canary" not in shown
    for process in processes:
        environment = (process / "environ").read_text()
        assert SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"] not in environment
        assert SECRETS["MLFLOW_TRACKING_PASSWORD"] not in environment

    # A password is changed by changing its secret: what the next start does, without the start.
    changed = server.environment | {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "PGPASSWORD": SECRETS["POSTGRES_PASSWORD"],
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin[1],
        "MLFLOW_TRACKING_PASSWORD": "another long one",
    }
    accounts = [sys.executable, SCRIPTS / "mlflow_accounts.py"]
    subprocess.run(accounts, env=changed, check=True, capture_output=True, timeout=PATIENCE)
    assert server.ask(search, jobs) == 401
    assert server.ask(search, ("jobs", "another long one")) == 200
    assert server.ask(search, admin) == 200

    server.process.send_signal(signal.SIGTERM)
    server.process.wait(30)
    assert server.group() == []


def test_a_database_that_cannot_hold_every_name_is_one_clear_line(server: Server) -> None:
    """As initdb makes it where the locale is C: every run with a λ in its name would fail there."""
    import psycopg2

    connection = psycopg2.connect(
        host="127.0.0.1", port=server.environment["POSTGRES_PORT"], dbname="postgres",
        user="mlflow", password=SECRETS["POSTGRES_PASSWORD"],
    )  # fmt: skip
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE narrow ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    done = subprocess.run(
        [SCRIPTS / "mlflow-server.sh"], env=server.environment | {"POSTGRES_DB": "narrow"},
        cwd=server.temporary, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "POSTGRES_DB: its encoding is SQL_ASCII; allowed: UTF8" in done.stderr
    assert "Traceback" not in done.stderr
