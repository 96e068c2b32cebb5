"""One trial: to the bit the same however often it is interrupted, and tested as promised."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from trained import assert_same, train, without_times

from equigrid.errors import TrainingDivergedError
from equigrid.record import Record
from equigrid.training.evaluation import evaluate
from equigrid.training.model import build_model
from equigrid.training.weights import load_weights


class Scripted:
    """An engine of no network: its scores are given, its only weight is the number of the epoch."""

    reads_epochs = False
    parameters, objective_parameters = 1, 0

    def __init__(self, scores):
        self.scores, self.epoch = scores, 0

    def train_epoch(self, history):
        self.epoch = len(history) + 1
        return {"loss": 1.0}

    def validate(self):
        return {"accuracy": self.scores[self.epoch - 1]}

    def test(self, split):
        return {"epoch": float(self.epoch)}

    def state(self):
        return {"epoch": self.epoch}

    def load_state(self, state):
        self.epoch = state["epoch"]

    def weights(self):
        return {"epoch": torch.tensor(self.epoch)}

    def load_weights(self, weights):
        self.epoch = int(weights["epoch"])

    def artifacts(self):
        return {"epoch.txt": b"%d" % self.epoch}


@pytest.mark.parametrize("stop", [0, 2, 5])
def test_any_engine_is_stopped_early_and_tested_on_its_best_weights(
    start, make_trial, trial_files, stop
):
    """Interrupted or not: epoch 3 is the first of the best, and two more are waited for."""
    trial = make_trial(role="final", epochs=9, patience=3)

    def going():
        scores = [0.1, 0.2, 0.6, 0.6, 0.5, 0.6, 0.9]
        return start(trial, make_engine=lambda trial, dataset, device: Scripted(scores))

    run = going()
    for _ in range(stop):
        run.run_epoch()
    run = going()
    assert len(run.history) == stop
    record = train(run)
    assert (len(record.history), record.best_epoch) == (6, 3)
    assert record.test == {"test": {"epoch": 3.0}, "test_augmented": {"epoch": 3.0}}
    assert load_weights(trial_files().weights)[0] == {"epoch": torch.tensor(3)}
    assert (trial_files().artifacts / "epoch.txt").read_bytes() == b"3"
    assert record.artifacts.keys() == {"epoch.txt"}


def test_resuming_after_any_epoch_changes_nothing(start, make_trial, trial_files):
    """Stopped after each epoch in turn, also before the first: history, weights and record."""
    trial = make_trial(epochs=5, role="final")
    undisturbed = train(start(trial, "undisturbed"))
    assert len(undisturbed.history) == 5
    for stop in range(6):
        name = f"stopped after {stop}"
        run = start(trial, name)
        for _ in range(stop):
            run.run_epoch()
        run = start(trial, name)  # the first is abandoned, as by SIGKILL
        assert len(run.history) == stop
        record = train(run)
        assert_same(record, undisturbed, trial_files(name), trial_files("undisturbed"))
        assert len(record.epoch_seconds) == 5


def test_a_torn_checkpoint_costs_an_epoch_and_changes_nothing(start, make_trial, trial_files):
    """The newest is torn: the one before it is taken, and the journal begins anew."""
    trial = make_trial(epochs=5)
    undisturbed = train(start(trial, "undisturbed"))
    run = start(trial, "torn")
    for _ in range(3):
        run.run_epoch()
    files = trial_files("torn")
    os.truncate(files.checkpoint, files.checkpoint.stat().st_size // 2)
    run = start(trial, "torn")
    assert len(run.history) == 2
    assert len(files.journal.read_text().splitlines()) == 2
    assert_same(train(run), undisturbed, files, trial_files("undisturbed"))


def test_the_journal_has_a_line_per_epoch_until_the_record_is_there(start, make_trial, trial_files):
    trial, files = make_trial(), trial_files()
    run = start(trial)
    rows = [run.run_epoch(), run.run_epoch()]
    lines = [json.loads(line) for line in files.journal.read_text().splitlines()]
    assert [line.pop("seconds") > 0 for line in lines] == [True, True]
    assert lines == [{"epoch": n, **row} for n, row in enumerate(rows, 1)]
    record = train(run)
    assert sorted(path.name for path in files.record.parent.iterdir()) == [
        "record.json",
        "state",
        "weights.safetensors",
    ]
    assert Record.load(files.record) == record
    assert record.weights_sha256 == load_weights(files.weights)[1]


def test_interleaved_trials_equal_trials_alone(start, make_trial, trial_files):
    """Neither the order nor the neighbours of a trial matter, nor the global random state."""
    trials = {"a": make_trial(seed=0), "b": make_trial(seed=1, lr=1e-3)}
    alone = {name: train(start(trial, f"{name} alone")) for name, trial in trials.items()}
    torch.manual_seed(99)
    runs = {name: start(trial, name) for name, trial in reversed(trials.items())}
    while not all(run.done for run in runs.values()):
        for run in runs.values():
            torch.rand(3)
            if not run.done:
                run.run_epoch()
    for name, run in runs.items():
        assert_same(run.finish(), alone[name], trial_files(name), trial_files(f"{name} alone"))
    assert alone["a"].history != alone["b"].history


def test_a_training_that_diverges_is_said_and_leaves_no_record(start, make_trial, trial_files):
    run = start(make_trial(lr=1e20))
    with pytest.raises(TrainingDivergedError, match=r"train_loss is (nan|inf) in epoch \d"):
        train(run)
    assert not trial_files().record.exists()
    assert not trial_files().weights.exists()


def test_a_final_tests_its_best_weights_and_a_grid_trial_does_not_test(
    start, make_trial, trial_files, tiny
):
    """Not those of the last epoch; test splits plain and at their fixed elements."""
    trial = make_trial(role="final", epochs=30, patience=5)
    record = train(start(trial))
    assert record.best_epoch < len(record.history)
    assert set(record.test) == {"test", "test_augmented"}

    model = build_model(trial, tiny, "cpu")
    model.load_state_dict(load_weights(trial_files().weights)[0])
    model.eval()
    rows, views = torch.arange(tiny.size("test")), tiny.views["test_augmented"]
    inputs = {
        "test": tiny.plain("test", rows),
        "test_augmented": tiny.view("test", rows, views.elements, views.draws),
    }
    for split, x in inputs.items():
        right = model(x).argmax(1) == tiny.targets("test", rows)
        assert record.test[split]["accuracy"] == pytest.approx(float(right.float().mean()))
        assert evaluate(model, tiny, split, "cpu") == record.test[split]
    # The same training without its tests.
    grid = train(start(replace(trial, role="grid"), "grid"))
    assert grid.test is None
    assert (grid.key, grid.history, grid.best_epoch) == (
        record.key, record.history, record.best_epoch
    )  # fmt: skip
    # The weights are those of the best epoch: a training cut off there has them as its last.
    short = train(start(make_trial(epochs=record.best_epoch, patience=99), "short"))
    weights = [load_weights(trial_files(name).weights)[0] for name in ("trial", "short")]
    assert short.best_epoch == record.best_epoch
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_finished_training_is_only_evaluated(start, make_trial, trial_files):
    """A grid trial's record and weights are all that a final of the same key needs."""
    grid = make_trial(role="grid")
    trained = train(start(grid))
    run = start(replace(grid, role="final", row="another name"))
    assert run.done
    record = run.finish()
    assert record.test is not None
    assert replace(record, test=None, trial=trained.trial) == trained
    undisturbed = train(start(replace(grid, role="final"), "at once"))
    assert record.test == undisturbed.test
    assert Record.load(trial_files().record) == record


@pytest.mark.parametrize("state", ["gone", "there"])
@pytest.mark.parametrize("damage", ["missing", "altered", "truncated", "of another training"])
def test_without_its_weights_a_training_is_repeated_with_the_same_result(
    start, make_trial, trial_files, damage, state
):
    trial = make_trial(role="final")
    first = train(start(trial))
    train(start(make_trial(seed=1), "other"))
    path = trial_files().weights
    if state == "gone":
        trial_files().state.unlink()
    if damage == "missing":
        path.unlink()
    elif damage == "altered":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    elif damage == "truncated":
        os.truncate(path, 40)
    else:
        path.write_bytes(trial_files("other").weights.read_bytes())
    run = start(trial)
    assert run.done == (state == "there")  # how it ended is enough to write its weights anew
    assert without_times(train(run)) == without_times(first)
    assert load_weights(path)[1] == first.weights_sha256


def test_a_trivial_row_is_at_chance_on_balanced_labels(start, make_trial):
    """No epochs, no weights, no validation; the test splits only for a final."""
    trial = make_trial(
        model={"name": "majority"}, objective={"name": "none"}, training={}, role="final"
    )
    run = start(replace(trial, hyperparameters={}))
    assert run.done
    record = run.finish()
    assert record.test["test"]["accuracy"] == record.test["test_augmented"]["accuracy"] == 0.25
    assert (record.history, record.best_epoch, record.weights_sha256) == ((), 0, None)
    assert record.parameters == 0
    assert Record.load(run.files.record) == record
