"""What a terminal shows of a run: best scores, trials in training, time left."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
import spaces
from rich.console import Console

from equigrid.commands import display
from equigrid.commands.display import Display
from equigrid.config.experiment import load_experiment
from equigrid.orchestration.dispatch import Slice
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace


def test_trials_in_training_have_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    experiment = load_experiment(str(spaces.write(tmp_path / "tiny.yaml")))
    plan = Ledger(experiment, Workspace(tmp_path / "workspace")).plan()
    first, second, *_ = plan.missing("grid")
    stream = StringIO()
    console = Console(file=stream, width=140, force_terminal=True, force_interactive=True,
                      color_system=None)  # fmt: skip
    shown = Display(console)
    shown.begin("grid")
    shown.begin_trials(plan.missing("grid"), plan)
    for trial in (first, second):
        shown.slice(trial, Slice("training", ({"val_accuracy": 0.25},), epochs_done=1), None)
    now[0] += 9.0
    shown.slice(first, Slice("training", ({"val_accuracy": 0.75},), epochs_done=2), None)
    console.print(shown._render())
    lines = [line.split() for line in stream.getvalue().splitlines()]
    (of_first,) = [it for it in lines if "2/3" in it]
    (of_second,) = [it for it in lines if "1/3" in it]
    # Ten seconds, of which the first slice is one: two epochs and one, of three.
    assert of_first[-5:] == ["2/3", "0.7500", "5", "s", "left"]
    assert of_second[-5:] == ["1/3", "0.2500", "20", "s", "left"]
    assert any(it[:1] == ["CNN"] and "0.7500" in it for it in lines)
    assert any("2 running" in " ".join(it) for it in lines)
