"""A score that is no number leaves a gap in its column, named; nothing else is lost."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import spaces

from equigrid.datasets.resident import Dataset
from equigrid.errors import TrainingDivergedError
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, TrialFiles
from equigrid.training.run import TrialRun
from equigrid.trial import Trial

#: A metric that knows how many were made before it; what it gives, every other time no number.
OTHER = "0.25 if self.number % 2 else math.nan"
ODD = """
import itertools, math
NUMBER = itertools.count()

class Odd:
    higher_is_better = True
    def __init__(self):
        self.number = next(NUMBER)
    def update(self, outputs, targets):
        pass
    def compute(self):
        return GIVES
"""


def test_it_is_a_gap_in_that_column_alone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = spaces.space(seeds={"grid": [0], "final": [0, 1]})
    del content["rows"]["Ours"], content["rows"]["Chance"]
    for split in ("test", "test_augmented"):
        content["columns"][f"odd {split}"] = {
            "dataset": "D1", "split": split, "metric": "odd:Odd"
        }  # fmt: skip
    spaces.write(tmp_path / "other.yaml", content)
    spaces.made_store(tmp_path / "workspace", tmp_path_factory)
    (tmp_path / "odd.py").write_text(ODD.replace("GIVES", OTHER))
    run = ("run", "other.yaml", "--in-process")
    done = spaces.in_this_process(*run, folder=tmp_path, expect=3)
    records = [
        record
        for key in Workspace(tmp_path / "workspace").record_keys()
        if (record := Workspace(tmp_path / "workspace").record(key)) and record.test
    ]
    assert len(records) == 2
    ((split, texts),) = records[0].undefined.items()
    assert texts == {"odd:Odd": "nan"}
    assert records[1].undefined == records[0].undefined
    gap = f"CNN / odd {split}: odd:Odd is no number on {split}, seed 0 (nan), 1 (nan)"
    assert f"gap: {gap}\n" in done.stdout
    assert "failed" not in done.stdout
    assert f"- {gap}." in done.stdout
    table = spaces.tables(tmp_path / "workspace", "other")
    cells = {it["column"]: it for it in csv.DictReader(table["table.csv"].decode().splitlines())}
    assert {name: (it["n"], it["gap"]) for name, it in cells.items() if it["n"] != "2"} == {
        f"odd {split}": ("0", "2 undefined")
    }
    assert sum(it["mean"] == "0.25" for it in cells.values()) == 1

    # Nothing to do again, nothing that does not match, and the same from MLflow alone.
    again = spaces.in_this_process(*run, folder=tmp_path, expect=3)
    assert "2/2 finished, 0 run now" in again.stdout
    assert "all match" in spaces.in_this_process("verify", "other.yaml", folder=tmp_path).stdout
    spaces.in_this_process("tables", "other.yaml", "--from-mlflow", folder=tmp_path, expect=3)
    assert spaces.tables(tmp_path / "workspace", "other") == table
    shown = spaces.in_this_process("status", "other.yaml", folder=tmp_path, expect=3).stdout
    assert f"gap: {gap}" in " ".join(shown.split())


def test_in_an_epoch_it_is_left_out_unless_it_selects(
    tiny: Dataset,
    make_trial: Callable[..., Trial],
    trial_files: Callable[..., TrialFiles],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A metric of a dataset's own; what is no number at all is said by the metric's name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tiny, "metrics", ("accuracy", "odd:Odd"))

    def train(gives: str, **settings: str) -> Record:
        (tmp_path / "odd.py").write_text(ODD.replace("GIVES", gives))
        trial = make_trial(epochs=1, role="final", **settings)
        run = TrialRun(trial, tiny, "d" * 64, trial_files(gives), "cpu")
        run.run_epoch()
        return run.finish()

    (names,) = train(OTHER).history  # of the training first, then of validation
    assert "train_odd:Odd" not in names
    assert {"val_odd:Odd", "train_accuracy"} < names.keys()
    assert set(train("-math.inf").undefined) == {"test", "test_augmented"}
    with pytest.raises(TrainingDivergedError, match="val_odd:Odd is nan in epoch 1"):
        train("math.nan", select="val_odd:Odd")
    with pytest.raises(ValueError, match=r"odd:Odd: compute\(\) gives 'high', not a number"):
        train("'high'")
