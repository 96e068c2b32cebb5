"""A table of thousands of runs that other code has tracked, beside what MLflow takes to read them.

The runs are written straight into MLflow's tables: two methods on two datasets, a grid of learning
rates, five seeds, epochs of four metrics. Then, in turns and each in a process of its own: MLflow's
own search of all runs with the curves that the table needs (one metric of every run, two of those
in cells), by one thread of a file and by eight of a server; `equigrid tables` cold, without any
cache; and warm. Goals: 1.5 times MLflow cold, 2 s warm.

    python benchmarks/external_runs.py [--runs 5000] [--epochs 50] [--rounds 3] [--server]
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import yaml
from common import Report, machine

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from tracking_server import TrackingServer

METRICS = ("val_acc", "test_acc", "train_loss", "val_loss")
SEEDS = range(5)

FLOOR = """
import sys, json
from concurrent.futures import ThreadPoolExecutor
from mlflow.tracking import MlflowClient
uri, threads, wanted = sys.argv[1], int(sys.argv[2]), json.load(open(sys.argv[3]))
client = MlflowClient(uri)
found = client.get_experiment_by_name("theirs").experiment_id
runs, token = [], None
while True:
    page = client.search_runs([found], max_results=5000, page_token=token)
    runs += page
    token = page.token
    if not token:
        break
with ThreadPoolExecutor(threads) as pool:
    list(pool.map(lambda it: client.get_metric_history(*it), wanted))
print(len(runs), len(wanted))
"""


def make_store(path: Path, runs: int, epochs: int) -> None:
    """Runs as a plain script would have logged them."""
    from mlflow.tracking import MlflowClient

    experiment = int(MlflowClient(f"sqlite:///{path}").create_experiment("theirs"))
    rates = [round(1e-4 * (n + 1), 6) for n in range(max(1, runs // (4 * len(SEEDS))))]
    draws = random.Random(0)
    places = itertools.product(("a", "b"), ("x", "y"), rates, SEEDS)
    with sqlite3.connect(path) as store:
        for number, (model, data, lr, seed) in enumerate(itertools.islice(places, runs)):
            run, began = uuid.UUID(int=draws.getrandbits(128)).hex, 1_700_000_000_000 + number
            store.execute(
                "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, "
                "experiment_id, artifact_uri, source_type, user_id, source_name, "
                "entry_point_name, source_version) VALUES (?, ?, 'FINISHED', ?, ?, 'active', ?, "
                "'x', 'LOCAL', 'me', '', '', '')",
                (run, f"run-{number}", began, began + 9, experiment),
            )
            params = {"model": model, "data": data, "lr": repr(lr), "seed": str(seed)}
            store.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
                              [(key, value, run) for key, value in params.items()])  # fmt: skip
            points = [(key, draws.random(), began + step, run, step)
                      for key in METRICS for step in range(epochs)]  # fmt: skip
            store.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
                "VALUES (?, ?, ?, ?, ?, 0)", points)  # fmt: skip
            store.executemany(
                "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) "
                "VALUES (?, ?, ?, ?, ?, 0)", points[epochs - 1 :: epochs])  # fmt: skip


def search_space(folder: Path, uri: str) -> Path:
    path = folder / "theirs.yaml"
    path.write_text(yaml.safe_dump({
        "runs": {
            "store": uri, "experiments": ["theirs"], "row": "params.model",
            "dataset": "params.data", "seed": "params.seed", "searched": ["params.lr"],
            "select": {"metric": "val_acc", "mode": "max"},
        },
        "columns": {it: {"dataset": it, "metric": "test_acc", "higher_is_better": True}
                    for it in ("x", "y")},
    }))  # fmt: skip
    return path


def seconds(*command: object) -> float:
    begun = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return time.perf_counter() - begun


def wanted_curves(workspace: Path, target: Path) -> int:
    """The curves that a table asked for, from its cache: what the floor has to read too."""
    (cache,) = (workspace / "results" / "external-runs").glob("*.curves.json")
    keys = json.loads(cache.read_text())
    pairs = [key.split(" ", 1) for key in keys if " " in key]
    target.write_text(json.dumps(pairs))
    return len(pairs)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=5000)
    options.add_argument("--epochs", type=int, default=50)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--server", action="store_true", help="through a server, not a file")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    report = Report("external_runs", given.json, machine())
    equigrid = Path(sys.executable).with_name("equigrid")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        server = TrackingServer(folder / "server") if given.server else nullcontext()
        with server as running:
            path = folder / "server" / "mlflow.db" if given.server else folder / "mlflow.db"
            make_store(path, given.runs, given.epochs)
            uri = running.uri if running is not None else f"sqlite:///{path}"
            space, pairs = search_space(folder, uri), folder / "pairs.json"
            taken: dict[str, list[float]] = {"MLflow": [], "cold": [], "warm": []}
            for _ in range(given.rounds):
                workspace = folder / "workspace"
                shutil.rmtree(workspace, ignore_errors=True)
                command = (equigrid, "tables", space, "--workspace", workspace)
                taken["cold"].append(seconds(*command))
                taken["warm"].append(seconds(*command))
                curves = wanted_curves(workspace, pairs)
                threads = 8 if given.server else 1
                taken["MLflow"].append(seconds(sys.executable, "-c", FLOOR, uri, threads, pairs))
    through = "a server" if given.server else "a SQLite file"
    report.show(f"curves read, of {given.runs} runs in {through}", curves, "", 1)
    floor = median(taken["MLflow"])
    n = given.rounds
    report.show("MLflow's own search and curves", floor, "s", n)
    report.show("equigrid tables, cold", median(taken["cold"]), "s", n)
    ratio = median(c / f for c, f in zip(taken["cold"], taken["MLflow"], strict=True))
    report.show("cold over MLflow's own", ratio, "times", n, goal=1.5)
    report.show("equigrid tables, warm", median(taken["warm"]), "s", n, goal=2.0)
    report.close()


if __name__ == "__main__":
    main()
