"""Where Ray ends processes for their memory, or gives up itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spaces
from lots import Lot, Told

pytestmark = pytest.mark.cluster

ROWS = {
    "CNN": {
        "model": {"small_cnn": {"width": 4, "latent": 8}},
        "objective": "augmented",
        "grid": {"lr": [0.003]},
    }
}
ONE = {"rows": ROWS, "seeds": {"grid": [0], "final": [0]}, "retries": 1}

SHORT_RESTS = """
import equigrid.orchestration.reporter as it
it.REST = 0.5
from equigrid.cli import main
main()
"""

#: As after a suspension: Ray's own words, where its server does not answer within a minute.
NO_ANSWER = """
import equigrid.orchestration.ray_tune
import ray
from ray.air.execution.resources import placement_group
from ray.exceptions import GetTimeoutError

def remove(group):
    raise GetTimeoutError("There was timeout in removing the placement group of id 00ff.")

placement_group.remove_placement_group = remove
from equigrid.cli import main
main()
"""


def _run(code: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, "run", "tiny.yaml"], capture_output=True, text=True,
        check=False, cwd=folder, env=spaces.environment(**settings),
    )  # fmt: skip


def test_memory_that_is_too_low_is_the_reason_that_is_told(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml", training={"epochs": 2000, "batch_size": 2}, **ONE)
    low = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    done = _run(SHORT_RESTS, tmp_path, **low)
    assert done.returncode == 3, done.stdout + done.stderr
    said = done.stdout.splitlines()
    (retried,) = (line for line in said if "trying again" in line)
    assert "too little memory on its node (" in retried
    assert "GB limit); rests 0.5 s: more `resources.cpu`" in retried
    assert any(
        "failed" in it and "died 2 times: too little memory on its node" in it for it in said
    )


#: The beginning of what Ray 2.60 says, and its end.
KILLED = (
    "Failure # 1 (occurred at 2026-12-01_00-51-26)\n"
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: "
    "127.0.0.1, ID: 6d494cba) was 22.54GB used / 23.54GB limit (0.95)\nOOM kill reason: …\n"
    "Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/\n"
)


def test_memory_is_no_fault_of_a_trial_while_others_go_on(
    lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.tune.experiment import Trial as TuneTrial

    from equigrid.orchestration import reporter as module

    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    good, slow = lot.trials["good"][0], lot.trials["slow"][0]
    told = Told()
    reporter = module.Reporter({t.key: t for t in (good, slow)}, lot.workspace, 1, told)
    tunes: dict[str, Any] = {}
    for name, trial in (("good", good), ("slow", slow)):
        tunes[name] = TuneTrial("stub", stub=True, config={"key": trial.key})
    errors = tmp_path / "error.txt"
    errors.write_text(KILLED)
    tunes["good"].run_metadata.error_filename = str(errors)
    monkeypatch.setattr(TuneTrial, "error_file", str(errors))

    def killed() -> int:
        tunes["good"].run_metadata.num_failures += 1
        reporter.on_trial_recover(0, [], tunes["good"])
        return int(tunes["good"].run_metadata.num_failures)

    def goes_on() -> None:
        piece = {"state": "training", "epochs": ({"val_accuracy": 0.5},), "epochs_done": 1}
        reporter.on_trial_result(0, [], tunes["slow"], {"slice": piece})

    for rest in (10.0, 20.0, 40.0):
        goes_on()
        assert killed() == 0
        assert tunes["good"].config["rest"] == rest
    assert slept == []
    # The other one stands still, or there is none: this one alone is too large.
    assert killed() == 1
    assert slept == [80.0]
    assert tunes["good"].config["rest"] == 0.0
    assert "(22.54GB used / 23.54GB limit); rests 80 s" in told.slices[good.key][-1].reason


def test_a_trial_that_rests_trains_afterwards(lot: Lot, tmp_path: Path) -> None:
    """An actor that is made with a rest waits so long, and says so."""
    from equigrid.orchestration.ray_tune import TrialActor

    workspace, trial = lot.fresh(tmp_path / "workspace"), lot.trials["good"][0]
    context = {
        "root": workspace.root, "courier": None, "slice_seconds": 0.2,
        "trials": {trial.key: trial}, "prepared": lot.prepared, "retries": 0, "device": "cpu",
    }  # fmt: skip
    actor = TrialActor.__new__(TrialActor)
    actor.setup({"key": trial.key, "rest": 0.5}, context)
    states = [actor.step()["slice"]["state"] for _ in range(3)]
    assert states == ["waiting"] * 3
    assert actor.worker is None
    ended = actor.step()
    while not ended["done"]:
        ended = actor.step()
    assert ended["slice"]["state"] == "finished"


def test_where_ray_itself_gives_up_the_same_command_goes_on(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml", **ONE)
    done = _run(NO_ANSWER, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("equigrid: Ray has given up")
    assert "There was timeout in removing the placement group" in line
    assert line.endswith("run the same command again to go on")
    assert "Traceback" not in done.stderr
