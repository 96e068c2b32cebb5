"""The driver killed with real training in flight, again and again: the table is the same."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import spaces
from driving import Driver, Drivers, begun, in_flight, store_locked, trained
from tracked_runs import finished_runs

from equigrid.config.experiment import load_experiment
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's /proc"),
]

NAME = "faulted"
#: Seconds that a step takes at least, four an epoch.
PACE = "0.1"
#: Seconds after which what is left of a killed driver is taken to stay.
WORKERS, EVERYTHING = 60.0, 120.0


def space(strengths: tuple[float, ...] = (0.5, 2.0)) -> dict[str, Any]:
    """Trainings of a few seconds with PACE, and a cache that takes a second or two to make."""
    model = {"paced:Paced": {"width": 4, "latent": 16}}
    dataset = spaces.DATASET | {
        "group": "C4xC4",
        "per_label": {"train": 20, "val": 10, "test": 400},
        "artefacts": {"draws": 32},
    }
    return spaces.space(
        datasets={"C4": dataset},
        columns={"C4": {"dataset": "C4", "split": "test_augmented", "metric": "accuracy"}},
        rows={
            "Chance": {"model": "majority"},
            "CNN": {"model": model, "objective": "augmented", "grid": {"lr": [0.003, 0.01]}},
            "Ours": {
                "model": model,
                "objective": "regular_representation",
                "grid": {"lr": [0.003], "lambda": list(strengths)},
            },
        },
        training={"epochs": 8, "batch_size": 20, "patience": 8},
        seeds={"grid": [0], "final": [0, 1, 2]},
    )


@dataclass
class Story:
    """What happened. trained: fingerprints at each kill.

    workers: of a killed driver, that were alive long after it; orphans: anything in the end.
    """

    folder: Path
    kills: list[str]
    workers: list[dict[int, str]]
    trained: list[dict[str, Any]]
    orphans: list[str]

    @property
    def workspace(self) -> Path:
        return self.folder / "killed"

    @property
    def undisturbed(self) -> Path:
        return self.folder / "undisturbed"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Four kills of four runs on one workspace, then a run to the end."""
    folder = tmp_path_factory.mktemp("faults")
    told = Story(folder, [], [], [], [])
    with Drivers() as drivers:
        _tell(told, drivers)
        told.orphans = drivers.orphans(EVERYTHING)
    return told


def _tell(told: Story, drivers: Drivers) -> None:
    workspace = told.workspace
    shutil.copy(Path(spaces.__file__).with_name("paced.py"), told.folder)
    file = spaces.write(told.folder / f"{NAME}.yaml", space())
    plan = Ledger(load_experiment(str(file)), Workspace(workspace)).known()
    grid = {trial.key for trial in plan.missing("grid")}

    def start(pace: str = PACE) -> Driver:
        return drivers.start(file.name, told.folder, workspace, environ={"PACE": pace})

    def kill(driver: Driver, what: str) -> None:
        driver.kill()
        told.kills.append(what)
        deadline = time.monotonic() + WORKERS
        while (left := driver.workers()) and time.monotonic() < deadline:
            time.sleep(0.1)
        told.workers.append(left)
        told.trained.append(trained(workspace))

    driver, caches = start(), workspace / "cache"
    assert driver.until(lambda: caches.is_dir() and list(caches.glob(".*.lock")))
    kill(driver, "cache")
    assert not list(caches.glob("*.h5"))

    driver = start()
    assert driver.until(lambda: begun(workspace) and (workspace / "mlflow.db").exists())
    assert begun(workspace) <= grid
    kill(driver, "grid")

    driver = start()
    assert driver.until(lambda: begun(workspace))
    with store_locked(workspace):
        before = len(trained(workspace))
        assert driver.until(lambda: len(trained(workspace)) > before)
        kill(driver, "between a record and its run")
    tracked = {key for _, _, role, key in finished_runs(workspace, NAME) if role == "grid"}
    assert (trained(workspace).keys() & grid) - tracked

    driver = start()
    assert driver.until(lambda: grid <= trained(workspace).keys() and begun(workspace) - grid)
    kill(driver, "final runs")

    start(pace="0").finish()
    undisturbed = ("--workspace", told.undisturbed, "--in-process")
    spaces.forked("run", file.name, *undisturbed, folder=told.folder)


def test_it_was_killed_everywhere_with_training_in_flight(story: Story) -> None:
    assert story.kills == ["cache", "grid", "between a record and its run", "final runs"]


def test_the_table_is_the_undisturbed_one_byte_for_byte(story: Story) -> None:
    assert spaces.tables(story.workspace, NAME) == spaces.tables(story.undisturbed, NAME)


def test_every_trial_has_one_finished_run(story: Story) -> None:
    found = finished_runs(story.workspace, NAME)
    assert set(found.values()) == {1}
    assert found == finished_runs(story.undisturbed, NAME)


def test_nothing_that_had_a_record_was_trained_again(story: Story) -> None:
    at_the_end = trained(story.workspace)
    assert at_the_end.keys() == trained(story.undisturbed).keys()
    for then in story.trained:
        assert then.items() <= at_the_end.items()
    # The kills did hit: there was something to keep, and something to go on with.
    assert story.trained[2]
    assert len(story.trained[3]) < len(at_the_end)


def test_no_process_outlives_its_driver_for_long(story: Story) -> None:
    assert story.workers == [{}] * 4
    assert story.orphans == []


def test_nothing_is_left_over(story: Story) -> None:
    assert in_flight(story.workspace) == {}
    for folder in ("running", "tune"):
        left = story.workspace / folder
        assert not left.exists() or not [path for path in left.rglob("*") if path.is_file()]
    assert not list(story.workspace.rglob("*.tmp"))
    assert not (story.workspace / "quarantine").exists()


def test_one_more_strength_runs_exactly_the_new_trials(story: Story) -> None:
    before = spaces.tree(story.workspace, ["records"])
    file = spaces.write(story.folder / f"{NAME}.yaml", space((0.5, 2.0, 5.0)))
    arguments = ("run", file.name, "--workspace", story.workspace, "--in-process")
    done = spaces.forked(*arguments, folder=story.folder)
    assert "5/5 finished, 1 run now" in done.stdout
    after = spaces.tree(story.workspace, ["records"])
    new = [load_trial(content) for name, content in after.items() if name not in before]
    assert {(it["row"], it["hyperparameters"]["lambda"]) for it in new} == {("Ours", 5.0)}
    # One for the grid; its other seeds only where it was selected.
    assert len(new) in (1, 3)
    assert {name: after[name] for name in before} == before


def load_trial(content: bytes) -> dict[str, Any]:
    import json

    trial: dict[str, Any] = json.loads(content)["trial"]
    return trial
