"""Tracking through the cluster's MLflow server: PostgreSQL behind it, accounts in front.

Both are started here, MLflow by docker/scripts/mlflow-server.sh. One writer sends made-up records
to it, then the same to a SQLite file; shown are the seconds a run, the processor time that each
process takes for it, and what it adds to the database. Needs PostgreSQL 15 and the cluster extra.

    python benchmarks/server.py [--runs 200] [--epochs 50] [--json FILE]
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from common import Report, begin, quickstart_trial

from equigrid.record import Record
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import postgres
import spaces

ROOT = Path(__file__).parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def processor_seconds(root: int) -> float:
    """What a living process and its descendants have taken so far."""
    parents, taken = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended
            parents[int(folder.name)] = int(fields[1])
            taken[int(folder.name)] = int(fields[11]) + int(fields[12])
    family = {root}
    while grown := {it for it, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(taken.get(it, 0) for it in family) / TICK


@contextmanager
def process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[int]:
    """A server in a session of its own; its id."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )
    try:
        yield running.pid
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 300
    while text not in log.read_text():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not started: {log.read_text()[-2000:]}")
        time.sleep(0.2)


def records(count: int, epochs: int) -> list[Record]:
    trial = quickstart_trial({"lr": 1e-3, "lambda": 1.0})
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_equivariance_loss",
             "val_equivariance_error")  # fmt: skip
    history = tuple(dict.fromkeys(names, 1.0 / (n + 1)) for n in range(epochs))
    trials = [replace(trial, seed=seed) for seed in range(count)]
    return [
        Record(
            trial=it, key=it.key, history=history, best_epoch=epochs, validation=history[-1],
            test=None, parameters=34329, data_sha256="d" * 64, weights_sha256="e" * 64,
            environment={"hardware": "made up", "git_commit": "made up", "torch": "made up"},
            started=1.7e9, epoch_seconds=(2.0,) * epochs,
        )
        for it in trials
    ]  # fmt: skip


def send(store: Store, sent: list[Record]) -> float:
    """Seconds from the first to the last; the connection and the parent run are made before."""
    with closing(Writer(store)) as writer:
        writer.record(sent[0].trial, sent[0])
        writer.flush()
        begun = time.perf_counter()
        for record in sent[1:]:
            writer.record(record.trial, record)
        writer.flush()
        seconds = time.perf_counter() - begun
        if writer.unsent:
            raise RuntimeError(f"not sent: {writer.error}")
    return seconds / (len(sent) - 1)


def main() -> None:
    report, options = begin(__doc__, runs=200, epochs=50)
    if reason := postgres.is_missing():
        raise SystemExit(reason)
    sent = records(options.runs + 1, options.epochs)
    folder = Path(tempfile.mkdtemp(prefix="equigrid-"))
    folder.chmod(0o755)
    try:
        measure(report, folder, sent)
    finally:
        shutil.rmtree(folder)
    report.close()


def measure(report: Report, folder: Path, sent: list[Record]) -> None:
    import psycopg2

    n, password = len(sent) - 1, secrets.token_hex(12)
    database, port = spaces.free_port(), spaces.free_port()
    run = postgres.make(folder / "postgres", password)
    where = ["-clisten_addresses=127.0.0.1", "-p", str(database)]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(database),
        "POSTGRES_DB": "postgres",
        "POSTGRES_PASSWORD": password,
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
        "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_hex(12),
        "MLFLOW_TRACKING_USERNAME": "jobs",
        "MLFLOW_TRACKING_PASSWORD": secrets.token_hex(12),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(12),
        "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
        "MLFLOW_PORT": str(port),
        "MLFLOW_WORKERS": "2",
    }
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        os.environ[name] = environment[name]
    logs = folder / "postgres.log", folder / "mlflow.log"
    address = f"host=127.0.0.1 port={database} user=mlflow dbname=postgres"
    script = str(ROOT / "docker" / "scripts" / "mlflow-server.sh")

    def size() -> int:
        with closing(psycopg2.connect(address, password=password)) as connection:
            cursor = connection.cursor()
            cursor.execute("select pg_database_size('postgres')")
            return int(cursor.fetchone()[0])

    with process([*run, *where], logs[0], environment) as behind:
        wait_for("ready to accept connections", logs[0])
        with process([script], logs[1], environment) as server:
            wait_for("Application startup complete", logs[1])
            groups, before = (server, behind), size()
            taken = [processor_seconds(group) for group in groups]
            ours = time.process_time()
            seconds = send(Store(f"http://127.0.0.1:{port}", folder, "benchmark"), sent)
            taken = [processor_seconds(it) - was for it, was in zip(groups, taken, strict=True)]
            report.show("a run to the server: seconds", 1000 * seconds, "ms", n)
            ours = time.process_time() - ours
            for who, value in (("writer", ours), ("MLflow", taken[0]), ("PostgreSQL", taken[1])):
                report.show(f"of it processor time, {who}", 1000 * value / n, "ms", n)
            report.show("a run adds to the database", (size() - before) / n / 1e3, "kB", n)
    artifacts = sum(it.stat().st_size for it in (folder / "artifacts").rglob("*") if it.is_file())
    report.show("a run's record among the artifacts", artifacts / (n + 1) / 1e3, "kB", n)
    local = folder / "local.db"
    seconds = send(Store(f"sqlite:///{local}", folder / "local", "benchmark"), sent)
    report.show("a run to a SQLite file: seconds", 1000 * seconds, "ms", n)
    report.show("a run adds to the file, at most", local.stat().st_size / n / 1e3, "kB", n)


if __name__ == "__main__":
    main()
