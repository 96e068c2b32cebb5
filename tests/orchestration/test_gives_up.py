"""Where Ray ends processes for their memory, or gives up itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spaces
from lots import Lot, Told

from equigrid.orchestration.dispatch import Slice

pytestmark = pytest.mark.cluster

ROWS = {
    "CNN": {
        "model": {"small_cnn": {"width": 4, "latent": 8}},
        "objective": "augmented",
        "grid": {"lr": [0.003]},
    }
}
ONE = {"rows": ROWS, "seeds": {"grid": [0], "final": [0]}, "retries": 1}

#: As after a suspension, when a process was ended twice: Ray's own words, where its server does not
#: answer within a minute.
NO_ANSWER = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import equigrid.orchestration.reporter as it
import equigrid.orchestration.ray_tune
import ray
from ray.air.execution.resources import placement_group
from ray.exceptions import GetTimeoutError

it.REST = 0.5
answers = [placement_group.remove_placement_group]

def remove(group):
    print("CPU", ray.cluster_resources()["CPU"])
    if not answers:
        raise GetTimeoutError("There was timeout in removing the placement group of id 00ff.")
    answers.pop()(group)

placement_group.remove_placement_group = remove
from equigrid.cli import main
main()
"""


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A run on one core whose memory is too low, and whose Ray gives up itself at last."""
    folder = tmp_path_factory.mktemp("low")
    spaces.made_store(folder / "workspace", tmp_path_factory)
    spaces.write(folder / "low.yaml", training={"epochs": 2000, "batch_size": 2}, **ONE)
    low = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    return subprocess.run(
        [sys.executable, "-c", NO_ANSWER, "run", "low.yaml"], capture_output=True, text=True,
        check=False, cwd=folder, env=spaces.environment(**low),
    )  # fmt: skip


def test_memory_that_is_too_low_is_the_reason_that_is_told(
    low: subprocess.CompletedProcess[str],
) -> None:
    (retried,) = (line for line in low.stdout.splitlines() if "trying again" in line)
    assert "too little memory on its node (" in retried
    assert "GB limit); rests 0.5 s: more `resources.cpu`" in retried


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_ray_has_the_cores_that_are_ours(low: subprocess.CompletedProcess[str]) -> None:
    assert [it for it in low.stdout.splitlines() if it.startswith("CPU")] == ["CPU 1.0"] * 2


def test_where_ray_itself_gives_up_the_same_command_goes_on(
    low: subprocess.CompletedProcess[str],
) -> None:
    assert low.returncode == 1, low.stdout + low.stderr
    line = low.stderr.splitlines()[-1]
    assert line.startswith("equigrid: Ray has given up")
    assert "There was timeout in removing the placement group" in line
    assert line.endswith("run the same command again to go on")
    assert "Traceback" not in low.stderr


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
    tunes["good"].run_metadata.num_failures += 1
    reporter.on_trial_error(0, [], tunes["good"])
    reason = (
        "its process died 2 times: too little memory on its node (22.54GB used / 23.54GB limit)"
    )
    assert told.slices[good.key][-1] == Slice("failed", reason=reason)
    assert lot.workspace.failures()[good.key].reason == reason
    lot.workspace.release(good.key)


def test_a_trial_that_rests_trains_afterwards(lot: Lot, tmp_path: Path) -> None:
    """An actor that is made with a rest waits so long, and says so."""
    from equigrid.orchestration.ray_tune import TrialActor

    workspace, trial = lot.fresh(tmp_path / "workspace"), lot.trials["good"][0]
    context = {
        "root": workspace.root, "workspace_server": None, "slice_seconds": 0.2,
        "trials": {trial.key: trial}, "prepared": lot.prepared, "retries": 0, "device": "cpu",
        "module_folder": lot.folder,
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
