"""compose.yaml started for real: what it promises, and what it survives."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import engine
import hosts
import pytest
import spaces
from tracked_runs import finished_runs

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(5400)]

ROOT = Path(__file__).parents[2]
PATIENCE = 900.0
WORKERS = 2
#: Of random kills, and the services that they hit.
KILLS, SERVICES = 10, ("ray-head", "ray-worker", "postgres", "mlflow")


class Cluster:
    """The commands of docker/README.md, in a copy of the checkout."""

    def __init__(self, found: engine.Engine, folder: Path) -> None:
        self.engine, self.folder = found, folder
        names = ("compose.yaml", "pyproject.toml", "README.md", "LICENSE")
        for name in names:
            shutil.copy(ROOT / name, folder)
        without = shutil.ignore_patterns("__pycache__", "secrets")
        for name in ("docker", "pipeline", "stages", "search_spaces"):
            shutil.copytree(ROOT / name, folder / name, ignore=without)
        subprocess.run([folder / "docker" / "make-secrets.sh"], check=True, capture_output=True)

    def compose(self, *command: str) -> str:
        return self.engine("compose", *command, cwd=self.folder)

    def secret(self, name: str) -> str:
        return (self.folder / "docker" / "secrets" / name).read_text()

    def containers(self) -> list[str]:
        return self.compose("ps", "--quiet").split()

    def worker(self, number: int = 1) -> str:
        return f"equigrid-ray-worker-{number}"

    def records(self) -> int:
        listed = "ls /workspace/records 2>/dev/null | grep -c json || true"
        return int(self.compose("exec", "-T", "ray-head", "sh", "-c", listed) or 0)

    def kill(self, container: str, process: str = "") -> bool:
        """SIGKILL to a container's first process, or to one whose name begins so; False: none."""
        pid = int(self.engine.inspect(container)["State"]["Pid"])
        if process:
            listed = self.engine("top", container, "-eo", "pid,args").splitlines()[1:]
            found = [line.split() for line in listed]
            pid = next((int(it[0]) for it in found if it[1].startswith(process)), 0)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return bool(pid)

    def trains(self) -> bool:
        """Whether a worker is in the midst of a trial; False too while one cannot be asked."""
        try:
            workers = [self.worker(number + 1) for number in range(WORKERS)]
            shown = [self.engine("top", it, "-eo", "pid,args") for it in workers]
        except AssertionError:
            return False
        return any("ray::ResourceTrainable" in it for it in shown)

    def submit(self, folder: Path, token: str | None = None) -> subprocess.Popen[str]:
        environ = {"RAY_AUTH_TOKEN": token or self.secret("ray_token"), "no_proxy": "*"}
        return spaces.start(
            "submit", "quickstart", "--address", "http://127.0.0.1:8265", folder=folder,
            environ=environ,
        )  # fmt: skip

    def tables(self, folder: Path) -> dict[str, bytes]:
        self.compose("cp", "ray-head:/workspace/tables", str(folder))
        return {path.name: path.read_bytes() for path in (folder / "tables/quickstart").iterdir()}


def until(ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(1)


def status(address: str, **headers: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if reason := engine.why_not() or hosts.why_not():
        pytest.skip(reason)
    for port in (5000, 8265):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"something else listens on port {port}")
    (checkout := tmp_path / "checkout").mkdir()
    with engine.engine() as found:
        engine.base_images(found, os.geteuid() or 1000)
        made = Cluster(found, checkout)
        try:
            yield made
        finally:
            made.compose("down", "--volumes", "--timeout", "1")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The quickstart's tables from an undisturbed run without containers."""
    alone = tmp_path_factory.mktemp("alone")
    spaces.forked("run", "quickstart", "--in-process", folder=alone)
    return spaces.tables(alone / "workspace", "quickstart")


def test_a_cluster_in_containers_finishes_the_table_whatever_is_killed(
    cluster: Cluster, expected: dict[str, bytes], tmp_path: Path
) -> None:
    begun = time.monotonic()
    cluster.compose("up", "--build", "--detach", "--wait")
    print(f"built and healthy after {time.monotonic() - begun:.0f} s")
    assert len(cluster.containers()) == 3 + WORKERS
    _keeps_its_promises(cluster)

    # The head is restarted in the middle of the grid: the job ends with it, and says so.
    job = cluster.submit(tmp_path)
    until(lambda: cluster.records() >= 3, "three trainings")
    begun = time.monotonic()
    cluster.compose("restart", "ray-head")
    print(f"the head restarted in {time.monotonic() - begun:.0f} s")
    output, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode in (1, 2), output + errors
    assert "the head was stopped" in output + errors
    until(lambda: status("http://127.0.0.1:8265/api/gcs_healthz") == 200, "the head")

    # The same command again; a worker is killed, database and tracking server are restarted.
    before = cluster.records()
    job = cluster.submit(tmp_path)
    until(lambda: cluster.records() >= before + 3, "three further trainings")
    worker = cluster.engine.inspect(cluster.worker())
    assert cluster.kill(cluster.worker())
    cluster.compose("restart", "postgres", "mlflow")
    output, errors = job.communicate(timeout=PATIENCE * 2)
    assert job.returncode == 0, output + errors
    (first := tmp_path / "first").mkdir()
    assert cluster.tables(first) == expected
    # It came back by itself, as after the head was restarted.
    assert cluster.engine.inspect(cluster.worker())["RestartCount"] > worker["RestartCount"]

    # All of it away and back: nothing is lost, nothing trained twice.
    done, begun = cluster.records(), time.monotonic()
    cluster.compose("down")
    took = time.monotonic() - begun
    cluster.compose("up", "--detach", "--wait")
    job = cluster.submit(tmp_path)
    output, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, output + errors
    assert "0 run now" in output
    (second := tmp_path / "second").mkdir()
    assert cluster.tables(second) == expected
    assert cluster.records() == done
    print(f"all stopped in {took:.0f} s")


def test_random_kills_in_containers_lose_and_double_nothing(
    cluster: Cluster, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.compose("up", "--build", "--detach", "--wait")
    chance, killed = random.Random(1), Counter[str]()
    job = cluster.submit(tmp_path)
    while True:
        while job.poll() is None and killed.total() < KILLS:
            until(lambda it=job: it.poll() is not None or cluster.trains(), "a trial in training")
            time.sleep(chance.uniform(0, 6))
            if job.poll() is not None:
                break
            victim = chance.choice([*SERVICES, "trial"])
            number = chance.randint(1, WORKERS)
            if victim == "trial":
                hit = cluster.kill(cluster.worker(number), "ray::ResourceTrainable")
            else:
                number = number if victim == "ray-worker" else 1
                hit = cluster.kill(f"equigrid-{victim}-{number}")
            killed[victim] += hit
            print(f"{victim} {number if hit else 'not'} killed")
        output, errors = job.communicate(timeout=PATIENCE * 2)
        if job.returncode == 0:
            break
        # The head was killed, and the job with it.
        until(lambda: status("http://127.0.0.1:8265/api/gcs_healthz") == 200, "the head")
        until(lambda: status("http://127.0.0.1:5000/health") == 200, "MLflow")
        job = cluster.submit(tmp_path)
    assert killed.total() == KILLS, output + errors
    # Once more: what MLflow missed while it was down is sent.
    until(lambda: status("http://127.0.0.1:5000/health") == 200, "MLflow")
    job = cluster.submit(tmp_path)
    output, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, output + errors
    assert cluster.tables(tmp_path) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "equigrid")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", cluster.secret("mlflow_tracking_password"))
    monkeypatch.setenv("no_proxy", "*")
    runs = finished_runs(tmp_path, "quickstart", "http://127.0.0.1:5000")
    assert set(runs.values()) == {1}
    # A training may be a point of the grid and a final: two runs of one record.
    trials = {key for _, _, _, key in runs if key}
    assert len(trials) == cluster.records()
    of = ", ".join(f"{name} {count}" for name, count in sorted(killed.items()))
    print(f"kills survived {killed.total()} ({of}), {len(trials)} trials, each once, tables equal")


def _keeps_its_promises(cluster: Cluster) -> None:
    """No port but two, to this machine; no root; no entry without a name or a token; no way out."""
    published = {}
    for container in cluster.containers():
        found = cluster.engine.inspect(container)
        published |= found["HostConfig"]["PortBindings"] or {}
        assert found["State"]["Health"]["Status"] == "healthy"
        assert found["Config"]["User"].split(":")[0] not in ("", "0", "root")
        shown = cluster.engine("exec", container, "grep", "CapEff", "/proc/1/status")
        assert int(shown.split()[1], 16) == 0
    assert {port: [it["HostIp"] for it in each] for port, each in published.items()} == {
        "5000/tcp": ["127.0.0.1"],
        "8265/tcp": ["127.0.0.1"],
    }
    experiments = "http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(experiments) == 401
    assert status("http://127.0.0.1:8265/api/jobs/") in (401, 403)
    wrong = {"Authorization": "Bearer " + "0" * 64}
    assert status("http://127.0.0.1:8265/api/jobs/", **wrong) in (401, 403)

    # Another host: those with a published port reach it, workers and the database do not.
    with hosts.network({"outside": False}) as found:
        outside = found["outside"]
        serve = ["-m", "http.server", "8000", "--bind", outside.address, "--directory"]
        outside.start([sys.executable, *serve, str(outside.base)], {"PATH": os.environ["PATH"]})
        until(lambda: status(f"http://{outside.address}:8000") == 200, "the host outside")
        ask = f"import socket; socket.create_connection(('{outside.address}', 8000), 5)"
        cluster.compose("exec", "-T", "ray-head", "python3", "-c", ask)
        with pytest.raises(AssertionError, match=r"unreachable|timed out"):
            cluster.engine("exec", cluster.worker(), "python3", "-c", ask)
