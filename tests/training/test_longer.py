"""More epochs: a training goes on from where a shorter one ended, where that is the same."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import spaces

from equigrid.objectives.task import Augmented
from equigrid.training.run import TrialRun

DATA = "d" * 64


class Asking(Augmented):
    """Its loss depends on how many epochs there will be."""

    def __call__(self, model, batch, task):
        loss = super().__call__(model, batch, task)
        return replace(loss, total=loss.total * batch.step.epoch / batch.step.epochs)


@pytest.fixture
def train(tiny, trial_files, tmp_path):
    """`train(trial, folder)` → the record, and the epochs that were run; states lie together."""

    def run(trial, folder):
        files = replace(trial_files(folder), state=tmp_path / "states" / trial.continuation_key)
        going = TrialRun(trial, tiny, DATA, files, "cpu")
        count = 0
        while not going.done:
            going.run_epoch()
            count += 1
        return going.finish(), count

    return run


def longer(trial, epochs, **training):
    return replace(trial, training={**trial.training, "epochs": epochs, **training})


def same(a, b):
    names = ("key", "history", "best_epoch", "test", "weights_sha256", "parameters")
    return all(getattr(a, name) == getattr(b, name) for name in names)


def test_it_goes_on_and_ends_as_if_trained_through(train, make_trial, tmp_path, trial_files):
    trial = longer(make_trial(role="final"), 2, patience=9)
    short, count = train(trial, "short")
    assert count == 2
    through, count = train(longer(trial, 5), "long")
    assert count == 3
    (tmp_path / "states" / trial.continuation_key).unlink()
    alone, count = train(longer(trial, 5), "alone")
    assert count == 5
    assert same(through, alone)
    assert through.history[:2] == short.history


def test_one_that_stopped_early_is_not_trained_again(train, make_trial):
    trial = longer(make_trial(), 30, patience=1)
    short, count = train(trial, "short")
    assert count < 30
    again, count = train(longer(trial, 40), "long")
    assert count == 0
    assert (again.history, again.weights_sha256) == (short.history, short.weights_sha256)
    assert again.key != short.key


@pytest.mark.parametrize("why", ["objective", "schedule"])
def test_what_depends_on_the_number_of_epochs_is_trained_from_the_start(
    why, train, make_trial, caplog, monkeypatch
):
    trial = longer(make_trial(), 2, patience=9)
    if why == "objective":
        monkeypatch.setattr("equigrid.objectives.task.Augmented", Asking)
        trial = replace(trial, objective={"name": "augmented"}, hyperparameters={"lr": 0.003})
    else:
        schedule = {"name": "linear", "to": 0.0}
        trial = longer(trial, 2, schedule=schedule)
    train(trial, "short")
    with caplog.at_level(logging.INFO, "equigrid"):
        _, count = train(longer(trial, 3), "long")
    assert count == 3
    assert "depends on the number of epochs: from the start" in caplog.text


def test_a_damaged_state_is_told_and_trained_from_the_start(train, make_trial, tmp_path, caplog):
    trial = longer(make_trial(), 1, patience=9)
    train(trial, "short")
    (tmp_path / "states" / trial.continuation_key).write_bytes(b"no state")
    _, count = train(longer(trial, 2), "long")
    assert count == 2
    assert "training from the start" in caplog.text


def test_a_plan_says_it_and_a_run_does_it(tmp_path):
    """The grid's trainings go on; the second run's journal has the new epochs alone."""
    spaces.write(tmp_path / "tiny.yaml")
    run = ("run", "tiny.yaml", "--in-process")
    spaces.in_this_process(*run, folder=tmp_path)
    spaces.write(tmp_path / "tiny.yaml", training={"epochs": 5, "batch_size": 20, "patience": 3})
    said = spaces.in_this_process("plan", "tiny.yaml", folder=tmp_path).stdout
    assert "4 trainings go on from where shorter ones ended" in said
    spaces.in_this_process(*run, folder=tmp_path)
    assert "all match" in spaces.in_this_process("verify", "tiny.yaml", folder=tmp_path).stdout
