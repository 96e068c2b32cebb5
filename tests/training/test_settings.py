"""Training settings: stopping by trend, learning rates that decay, weight decay, last weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equigrid.datasets.smoke.builder import Smoke, SmokeParameters
from equigrid.record import Record
from equigrid.symmetry import cyclic
from equigrid.training.optimisation import learning_rate
from equigrid.training.run import TrialRun
from equigrid.training.weights import load_weights

STARTS = {"train": [0, 4], "val": [4, 7], "future": [7, 9], "domain": [0, 2]}


def _first_steps(start, make_trial, name, **settings):
    """The learning rates of three epochs, and the weights after them."""
    trial = make_trial(lr=0.01)
    run = start(make_trial(lr=0.01, training={**trial.training, **settings}), name)
    rates = []
    for _ in range(3):
        run.run_epoch()
        rates.append(run.engine.optimiser.param_groups[0]["lr"])
    return rates, torch.cat([value.flatten() for value in run.engine.model.parameters()]).detach()


def test_the_learning_rate_decays_from_epoch_to_epoch(start, make_trial):
    rates, weights = _first_steps(start, make_trial, "decaying", lr_decay=0.5)
    assert rates == pytest.approx([0.01, 0.005, 0.0025])
    constant, others = _first_steps(start, make_trial, "constant")
    assert constant == [0.01] * 3
    assert not torch.equal(weights, others)


def test_the_learning_rate_goes_on_decaying_after_an_interruption(start, make_trial):
    trial = make_trial(lr=0.01)
    trial = make_trial(lr=0.01, training={**trial.training, "lr_decay": 0.5})
    start(trial).run_epoch()
    run = start(trial)
    run.run_epoch()
    assert run.engine.optimiser.param_groups[0]["lr"] == pytest.approx(0.005)


def _rates(make_trial, schedule, scores):
    """The learning rate of each epoch, and of the one after the last of these scores."""
    trial = make_trial(epochs=80, select="val_loss", lr=1e-3)
    trial = make_trial(lr=1e-3, training={**trial.training, "schedule": schedule})
    history = [{"val_loss": score} for score in scores]
    return [learning_rate(trial, history[:n]) for n in range(len(history) + 1)]


def test_a_learning_rate_falls_by_equal_steps_or_factors_and_then_stays(make_trial):
    courses = {"linear": np.linspace(1e-3, 1e-4, 25), "exponential": np.logspace(-3, -4, 25)}
    for name, falls in courses.items():
        rates = _rates(make_trial, {"name": name, "to": 0.1, "over": 25}, [1.0] * 79)
        np.testing.assert_allclose(rates, [*falls, *[1e-4] * 55])
        whole = _rates(make_trial, {"name": name, "to": 0.1}, [1.0] * 79)
        assert whole[-1] == pytest.approx(1e-4)
        assert whole[-2] > 1.01e-4


def test_a_learning_rate_falls_on_a_plateau(make_trial):
    scores = [5.0, 4.0, 4.0, 3.0, 3.5, 3.1, 2.0]
    for patience, falls in ((1, [0, 0, 0, 1, 1, 2, 3, 3]), (2, [0, 0, 0, 0, 0, 0, 1, 1])):
        schedule = {"name": "plateau", "factor": 0.2, "patience": patience}
        found = _rates(make_trial, schedule, scores)
        assert found == pytest.approx([1e-3 * 0.2**n for n in falls])


def test_weight_decay_is_adams(start, make_trial):
    """An L2 penalty on the weights: they end smaller."""
    _, plain = _first_steps(start, make_trial, "plain")
    _, decayed = _first_steps(start, make_trial, "decayed", weight_decay=1.0)
    assert decayed.norm() < 0.9 * plain.norm()


def test_the_last_weights_are_tested_where_asked_for(start, make_trial, trial_files):
    """The best epoch is still the one selected by; only the weights differ."""
    # Without patience the last epoch of a training is never its best.
    settings = make_trial(epochs=100, patience=1, select="val_loss").training
    records: dict[str, Record] = {}
    for name, changes in (("best", {}), ("last", {"tested": "last"})):
        trial = make_trial(lr=0.03, role="final", training=settings | changes)
        run = start(trial, name)
        while not run.done:
            run.run_epoch()
        last = run.engine.weights()
        records[name] = run.finish()
        weights, _ = load_weights(trial_files(name).weights)
        same = all(torch.equal(value, last[key]) for key, value in weights.items())
        assert same == (name == "last")
    assert records["best"].history == records["last"].history
    assert records["best"].best_epoch == records["last"].best_epoch
    assert records["best"].key != records["last"].key


def test_a_field_is_trained_and_tested_from_its_windows(make_trial, trial_files, quiet):
    """Validation over 6 frames, tests over 20; the equivariance of maps is measured."""
    parameters = SmokeParameters(
        grid=8, steps=42, simulations=3, train=[1, 2], domain=[3], starts=STARTS
    )
    builder = Smoke(parameters, cyclic(4))
    base = builder.build(None, quiet)
    dataset = builder.resident({**base, **builder.augment(base, quiet)}, "cpu")
    training = {"epochs": 2, "batch_size": 4, "select": "val_rmse_6"}
    trial = make_trial(
        model={"name": "field_cnn", "width": 4},
        objective={"name": "autoregressive_regular_representation", "latents": "paper"},
        training=training | {"patience": 2},
        role="final",
    )
    run = TrialRun(trial, dataset, "d" * 64, trial_files(), "cpu")
    while not run.done:
        run.run_epoch()
    record = run.finish()
    assert record.test is not None
    assert record.test.keys() == {"future", "domain"}
    frames = {f"rmse_frame_{n:02}" for n in range(1, 21)}
    assert record.test["future"].keys() == {"loss", "rmse_6", "rmse_20"} | frames
    assert {"val_rmse_6", "val_equivariance_error"} <= record.validation.keys()
    assert "val_rmse_20" not in record.validation
