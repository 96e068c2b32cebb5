"""The MLflow server killed for half a minute in the midst of a run: everything arrives, once."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import spaces
from driving import Drivers, in_flight, trained
from tracked_runs import finished_runs
from tracking_server import TrackingServer

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's /proc"),
]

DOWN = 25.0
MODEL = {"paced:Paced": {"width": 4, "latent": 8}}
ROWS = {
    "Chance": {"model": "majority"},
    "CNN": {"model": MODEL, "objective": "augmented", "grid": {"lr": [0.003, 0.01]}},
}
#: 6 epochs of 3 steps: with PACE at 0.7 s a training lasts 13 s.
TRAINING = {"epochs": 6, "batch_size": 20, "patience": 6}
SEEDS = {"grid": [0, 1, 2], "final": [0, 1, 2, 3]}


def test_half_a_minute_without_its_server_costs_a_run_nothing(tmp_path: Path) -> None:
    shutil.copy(Path(spaces.__file__).with_name("paced.py"), tmp_path)
    file = spaces.write(tmp_path / "tiny.yaml", rows=ROWS, training=TRAINING, seeds=SEEDS)
    undisturbed = tmp_path / "undisturbed"
    spaces.forked("run", file.name, "--in-process", "--workspace", undisturbed, folder=tmp_path)

    workspace = tmp_path / "workspace"
    with TrackingServer(tmp_path / "mlflow") as server, Drivers() as drivers:
        environ = {"MLFLOW_TRACKING_URI": server.uri, "PACE": "0.7"}
        driver = drivers.start(file.name, tmp_path, workspace, environ=environ)
        assert driver.until(lambda: trained(workspace) and in_flight(workspace))
        server.kill()
        before, back = len(trained(workspace)), time.monotonic() + DOWN
        assert driver.until(lambda: time.monotonic() > back and in_flight(workspace))
        meanwhile = len(trained(workspace)) - before
        server.start()
        driver.finish()
        said = driver.output.read_text()
        print(f"{meanwhile} trainings ended while the server was down for {DOWN:.0f} s")
        assert meanwhile >= 2
        assert "not in MLflow yet" not in said

        assert spaces.tables(workspace) == spaces.tables(undisturbed)
        runs = finished_runs(workspace, "tiny", server.uri)
        assert set(runs.values()) == {1}
        assert runs == finished_runs(undisturbed, "tiny")
        # Every epoch of every metric, once, and with the record's own value.
        from mlflow.tracking import MlflowClient

        client = MlflowClient(server.uri)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        seen = 0
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            if run.data.tags.get("role") not in ("grid", "final"):
                continue
            text = (workspace / "records" / f"{run.data.tags['run_key']}.json").read_text()
            history = json.loads(text)["history"]
            for name in history[0] if history else ():
                points = client.get_metric_history(run.info.run_id, name)
                assert [(it.step, it.value) for it in points] == [
                    (epoch, row[name]) for epoch, row in enumerate(history, 1)
                ]
                seen += len(points)
        assert seen
