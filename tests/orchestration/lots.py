"""Trials that misbehave, and what a dispatcher tells of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import spaces
from rich.console import Console

from equigrid.commands.display import Display
from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import Dispatcher, Slice
from equigrid.planning.plan import grid_trials
from equigrid.planning.workspace import Workspace
from equigrid.stages.run import prepare_data
from equigrid.trial import Trial

MOODS = ("good", "raises", "offline", "nan", "dies", "slow")
#: Of one step each.
EPOCHS = 8
TIMES = ("started", "epoch_seconds")

MakeDispatcher = Callable[[Workspace], Dispatcher]


@dataclass(frozen=True)
class Lot:
    """A search space whose rows are moods, and its data. folder: where the model lies."""

    experiment: Experiment
    folder: Path
    workspace: Workspace
    prepared: Mapping[str, PreparedData]
    trials: Mapping[str, Sequence[Trial]]

    def fresh(self, root: Path) -> Workspace:
        """A workspace with the data in it and nothing run."""
        shutil.copytree(self.workspace.root, root)
        (self.folder / "log.txt").write_text("")
        self.pace(0)
        return Workspace(root)

    def pace(self, seconds: float) -> None:
        """How long a slow model takes for a step."""
        (self.folder / "pace.txt").write_text(str(seconds))

    def steps(self, mood: str) -> list[int]:
        """The process of each training step of a mood, in order."""
        lines = (self.folder / "log.txt").read_text().split("\n")
        return [int(line.split()[1]) for line in lines if line.startswith(f"{mood} ")]


def make_lot(folder: Path) -> Lot:
    shutil.copy(Path(__file__).parents[1] / "data" / "moods.py", folder / "moods.py")
    rows = {
        mood: {
            "model": {"moods:Moody": {"mood": mood}},
            "objective": "augmented",
            "grid": {"lr": [0.003, 0.01]},
        }
        for mood in MOODS
    }
    training = {"epochs": EPOCHS, "batch_size": 48, "patience": EPOCHS}
    experiment = load_experiment(
        str(spaces.write(folder / "moods.yaml", rows=rows, training=training))
    )
    workspace = Workspace(folder / "workspace")
    data = prepare_data(experiment, workspace, RawStore(), Display(Console(file=StringIO())))
    grid = grid_trials(experiment, data.recipes)
    trials = {mood: grid[mood, "D1"] for mood in MOODS}
    return Lot(experiment, folder, workspace, data.prepared, trials)


@dataclass
class Told:
    """What a dispatcher reported, by key; `also` hears it too."""

    also: Callable[[Trial, Slice], None] = lambda trial, piece: None
    slices: dict[str, list[Slice]] = field(default_factory=dict)

    def __call__(self, trial: Trial, piece: Slice) -> None:
        self.slices.setdefault(trial.key, []).append(piece)
        self.also(trial, piece)

    def end(self, trial: Trial) -> Slice:
        """The one report that ended a trial: the last of it."""
        last = self.slices[trial.key][-1]
        ends = [it for it in self.slices[trial.key] if it.state in ("finished", "failed")]
        assert ends == [last]
        return last


def timeless(workspace: Workspace, trial: Trial) -> dict[str, Any]:
    """A record but for its times and the state of the checkout; the weights' hash is in it."""
    record = json.loads(workspace.record_file(trial.key).read_text())
    del record["environment"]["git_commit"]
    return {name: value for name, value in record.items() if name not in TIMES}
