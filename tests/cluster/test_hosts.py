"""A cluster of several hosts without a shared disk: one is cut off, one dies, one is taken away."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import hosts
import longer
import postgres
import pytest
import spaces
from tracked_runs import finished_runs

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docker" / "scripts"
PATIENCE = 240.0


def wait_until(ready: Callable[[], object], what: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"{what} is not there:\n{log.read_text()[-4000:]}"
        time.sleep(0.5)


def answers(url: str) -> bool:
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return bool(opener.open(url, timeout=5).status == 200)
    except OSError:
        return False


def trained_on(workspace: Path) -> Counter[str]:
    """How many finished trainings each host has."""
    found: Counter[str] = Counter()
    for path in (workspace / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["history"]:
            found[record["environment"]["host"]] += 1
    return found


def epochs(folder: Path) -> dict[str, int]:
    """By run key: of what workers with this temporary folder have in training, two or more."""
    found = {}
    for path in folder.glob("equigrid-*/running/*/journal.jsonl"):
        with suppress(FileNotFoundError):  # it is finished
            found[path.parent.name] = len(path.read_text().splitlines())
    return {key: count for key, count in found.items() if count >= 2}


def checkpoints(workspace: Path) -> set[str]:
    return {path.parent.name for path in (workspace / "running").glob("*/checkpoint")}


def database(host: hosts.Host, environment: dict[str, str]) -> None:
    """A PostgreSQL server on a host, with the password that the environment holds."""
    folder = host.base / "postgres"
    run = postgres.make(folder, environment["POSTGRES_PASSWORD"])
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {hosts.SUBNET}.0/24 scram-sha-256\n")
    host.start([*run, f"-clisten_addresses={host.address}"], environment)
    wait_until(
        lambda: "ready to accept connections" in host.log.read_text(), "PostgreSQL", host.log
    )


@pytest.mark.parametrize("name", ["hosts", "quickstart"])
def test_what_lost_hosts_trained_is_finished_by_others(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := hosts.why_not():
        pytest.skip(reason)
    if reason := postgres.is_missing():
        pytest.skip(reason)
    for module in ("psycopg2", "flask_wtf"):
        pytest.importorskip(module, reason="the cluster extra is not installed")
    space = longer.write(tmp_path / "hosts.yaml")
    if name == "quickstart":
        space = Path(name)
    undisturbed = tmp_path / "workspace"
    spaces.forked("run", space, "--in-process", folder=tmp_path)
    expected = spaces.tables(undisturbed, name)

    names = {"store": False, "head": False, "one": True, "two": True, "three": True, "four": True}
    with hosts.network(names) as found:
        store, head = found["store"], found["head"]
        workspace = head.base / "workspace"
        common = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(head.base),
            "no_proxy": "*",
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            # A host that is silent for some seconds is lost, not after Ray's half a minute.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "3000",
            "RAY_health_check_failure_threshold": "4",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
        }
        tracking = {
            "MLFLOW_TRACKING_URI": f"http://{store.address}:5000",
            "MLFLOW_TRACKING_USERNAME": "jobs",
            "MLFLOW_TRACKING_PASSWORD": secrets.token_hex(12),
        }
        server = {
            "POSTGRES_HOST": store.address,
            "POSTGRES_DB": "postgres",
            "POSTGRES_PASSWORD": secrets.token_hex(12),
            "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
            "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_hex(12),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(12),
            "MLFLOW_ARTIFACTS_DESTINATION": str(head.base / "artifacts"),
            "MLFLOW_HOST": store.address,
            "MLFLOW_WORKERS": "1",
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"{store.address}:5000",
        }
        database(store, common | server)
        store.start([str(SCRIPTS / "mlflow-server.sh")], common | tracking | server)
        ours = {
            "RAY_NODE_IP": head.address,
            "RAY_DASHBOARD_HOST": head.address,
            "RAY_NUM_CPUS": "0",
            "RAY_OBJECT_STORE_MEMORY": "100000000",
            "RAY_TEMP_DIR": str(head.base / "ray"),
            "EQUIGRID_WORKSPACE": str(workspace),
        }
        head.start([str(SCRIPTS / "ray-head.sh")], common | tracking | ours)
        joined = {
            "RAY_HEAD_ADDRESS": f"{head.address}:6379",
            "RAY_NUM_CPUS": "1",
            "RAY_OBJECT_STORE_MEMORY": "100000000",
            "PACE": "0.05",
        }
        worker = [str(SCRIPTS / "ray-worker.sh")]
        for host in ("one", "two"):
            found[host].start(worker, common | joined)
        jobs = f"http://{head.address}:8265"
        wait_until(lambda: answers(f"{jobs}/api/gcs_healthz"), "Ray's job server", head.log)
        wait_until(
            lambda: answers(f"{tracking['MLFLOW_TRACKING_URI']}/health"), "MLflow", store.log
        )

        for token in ({}, {"RAY_AUTH_TOKEN": "0" * 32}):
            refused = spaces.equigrid(
                "submit", space, "--address", jobs, folder=tmp_path, expect=2,
                environ={"no_proxy": "*", **token},
            )  # fmt: skip
            assert len(refused.stderr.splitlines()) == 1
            assert "the cluster's token: RAY_AUTH_TOKEN" in refused.stderr
        assert not answers(f"{jobs}/api/jobs/")

        laptop = {it: common[it] for it in ("RAY_AUTH_TOKEN", "no_proxy")} | tracking
        job = spaces.start(
            "submit", space, "--address", jobs, folder=tmp_path, environ=laptop,
            stdout=(tmp_path / "job.log").open("w"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_until(
            lambda: {"one", "two"} <= trained_on(workspace).keys(),
            "a training on each worker", tmp_path / "job.log",
        )  # fmt: skip
        before = trained_on(workspace)
        found["one"].cut()
        found["two"].kill()
        (on_three := tmp_path / "three").mkdir()
        slower = {"TMPDIR": str(on_three), "PACE": "0.2"}
        three = found["three"].start(worker, common | joined | slower)
        wait_until(
            lambda: trained_on(workspace)["three"], "a training on three", tmp_path / "job.log"
        )
        # In the midst of the next, long before its checkpoint is due.
        wait_until(lambda: epochs(on_three), "a trial in the midst on three", found["three"].log)
        (key, done), begun = epochs(on_three).popitem(), time.monotonic()
        assert key not in checkpoints(workspace)
        three.terminate()
        three.wait(30)
        left = time.monotonic() - begun
        assert key in checkpoints(workspace), "three left without its checkpoint"
        found["four"].start(worker, common | joined)
        assert job.wait(PATIENCE * 4) == 0, (tmp_path / "job.log").read_text()
        after = trained_on(workspace)

        # The workers on the host that was cut off do not train on for nobody.
        wait_until(lambda: not found["one"].pids(), "the end of what was cut off", head.log)
        assert spaces.tables(workspace, name) == expected
        assert after["three"] > 0
        assert after["four"] > 0
        assert "its process ended" in (tmp_path / "job.log").read_text()
        assert before.total() < after.total() == trained_on(undisturbed).total()
        print(f"trainings before the faults {dict(before)}, at the end {dict(after)}")
        print(f"three left in {left:.1f} s, in its trial after {done} epochs")

        # From the laptop, against the server alone: whole, and every trial tracked once.
        (elsewhere := tmp_path / "elsewhere").mkdir()
        status = spaces.equigrid("status", space, folder=elsewhere, environ=laptop)
        assert "complete" in status.stdout
        for variable, value in laptop.items():
            monkeypatch.setenv(variable, value)
        runs = finished_runs(workspace, name, tracking["MLFLOW_TRACKING_URI"])
        assert set(runs.values()) == {1}
        assert runs == finished_runs(undisturbed, name)
