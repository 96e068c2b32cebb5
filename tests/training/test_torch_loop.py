"""The packaged engine: what an epoch draws, trains and measures."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from trained import assert_same, train

from equigrid.own_parts.source_code import fingerprints
from equigrid.registry import MODELS, ModelEntry
from equigrid.training.evaluation import evaluate
from equigrid.training.model import build_model
from equigrid.training.streams import stream, stream_seed
from equigrid.training.weights import load_weights


def test_building_a_network_leaves_the_global_random_state_alone(make_trial, tiny):
    before = torch.random.get_rng_state()
    first, second = (build_model(make_trial(seed=seed), tiny, "cpu") for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_random_streams_differ_by_seed_name_and_epoch():
    """And stay what they are: another value here is another TRAINING_VERSION."""
    names = [
        (seed, name, epoch)
        for seed in (0, 1)
        for name in ("order", "augmentation", "pair", "first draw", "second draw")
        for epoch in (1, 2, 11)
    ]
    draws = {
        tuple(torch.randint(1 << 30, (4,), generator=stream(*each)).tolist()) for each in names
    }
    assert len(draws) == len(names)
    assert stream_seed(0, "initialisation") == 1952974914541233639
    assert stream_seed(3, "order", 2) == 5395776396005811069


#: A network without normalisation: at a vanishing learning rate its scores never change.
FROZEN = {"name": "toy_networks:Linear", "latent": 10}
WATCHING = {"name": "toy_networks:Watching"}
TOY_NETWORKS = """
import torch
from torch import nn
from equigrid.objectives.task import Augmented

seen = []

class Watching(Augmented):
    def __call__(self, model, batch, task):
        seen.append(batch)
        return super().__call__(model, batch, task)

class Linear(nn.Module):
    def __init__(self, input_shape, outputs, *, latent=10):
        super().__init__()
        self.encode = nn.Sequential(nn.Flatten(), nn.LazyLinear(latent))
        self.head = nn.Linear(latent, outputs)
        self.encode(torch.zeros(1, *input_shape))

    def forward(self, x):
        return self.head(self.encode(x))
"""


@pytest.fixture(autouse=True)
def _toy_networks(tmp_path, monkeypatch):
    """A user's own module beside the search space."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "toy_networks.py").write_text(TOY_NETWORKS)
    monkeypatch.syspath_prepend(folder)


def test_every_epoch_takes_every_sample_once_with_fresh_draws(double_digits, start, make_trial):
    """Order, elements and artefacts differ from each other, by epoch and by seed."""
    dataset = double_digits("C4xC4", artefacts={"draws": 2})
    seen = importlib.import_module("toy_networks").seen

    def batches_of(seed):
        trial = make_trial(seed=seed, epochs=2, model=FROZEN, objective=WATCHING)
        run = start(trial, f"seed {seed}", dataset)
        for _ in range(2):
            seen.clear()
            run.run_epoch()
            assert [len(batch.rows) for batch in seen] == [20, 20, 8]
            yield {
                name: tuple(torch.cat([getattr(batch, name) for batch in seen]).tolist())
                for name in ("rows", "a", "g", "first_draw", "second_draw")
            }

    epochs = [*batches_of(0), *batches_of(1)]
    for epoch in epochs:
        assert sorted(epoch["rows"]) == list(range(48))
        assert set(epoch["a"]) <= set(range(16))
        assert set(epoch["first_draw"]) == set(range(4))
        assert epoch["a"] != epoch["g"]
        assert epoch["first_draw"] != epoch["second_draw"]
    for name in epochs[0]:
        assert len({epoch[name] for epoch in epochs}) == len(epochs), name


def test_a_last_batch_of_one_sample_is_left_out(start, make_trial, tiny):
    """Batch normalisation has no variance of a single sample: 48 = 47 + 1."""
    record = train(start(make_trial(batch_size=47, epochs=2)))
    assert len(record.history) == 2
    accuracy = record.history[0]["train_accuracy"] * 47
    assert accuracy == pytest.approx(round(accuracy))


@pytest.mark.parametrize("objective", ["augmented", "regular_representation"])
def test_resuming_after_every_epoch_changes_nothing(start, make_trial, trial_files, objective):
    changes = {"epochs": 4, "objective": {"name": objective}}
    trial = make_trial(**changes)
    undisturbed = train(start(trial, "undisturbed"))
    for _ in range(4):
        start(trial, "stuttering").run_epoch()
    record = start(trial, "stuttering").finish()
    assert_same(record, undisturbed, trial_files("stuttering"), trial_files("undisturbed"))


def test_the_equivariance_scores_are_recorded_for_every_objective(start, make_trial):
    """Reported for every row whose latent holds the group, and never trained on."""
    for objective in ("augmented", "unaugmented", "regular_representation"):
        record = train(start(make_trial(objective={"name": objective}, epochs=1), objective))
        assert {"val_loss", "val_accuracy", "val_equivariance_error"} <= set(record.validation)
    small = make_trial(
        objective={"name": "augmented"}, model={"name": "small_cnn", "width": 4, "latent": 3}
    )
    assert "val_equivariance_error" not in train(start(small, "small")).validation


def test_two_views_are_the_method_without_its_penalty(start, make_trial, trial_files):
    """Weights and scores equal to the bit those of λ = 0, but for what was not computed."""
    trials = {
        "zero": make_trial(strength=0.0, role="final"),
        "alone": replace(
            make_trial(objective={"name": "two_views"}, role="final"), hyperparameters={"lr": 3e-3}
        ),
    }
    zero, alone = (train(start(trial, name)) for name, trial in trials.items())
    for ours, theirs in zip(zero.history, alone.history, strict=True):
        assert ours.pop("train_equivariance_loss") > 0
        assert ours == theirs
    assert (zero.best_epoch, zero.test) == (alone.best_epoch, alone.test)
    weights, others = (load_weights(trial_files(name).weights)[0] for name in trials)
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_unaugmented_rows_are_stopped_and_chosen_on_samples_as_they_are(start, make_trial, tiny):
    """Unless they say otherwise; the latents are measured at the split's views all the same."""
    records = {}
    for validation in ("plain", "views"):
        objective = {"name": "unaugmented", "validation": validation}
        trial = make_trial(objective=objective, epochs=1)
        records[validation] = train(start(trial, validation))
        model = build_model(trial, tiny, "cpu").eval()
        model.load_state_dict(load_weights(start(trial, validation).files.weights)[0])
        plain = evaluate(model, tiny, "val", "cpu", plain=True)
        at_views = evaluate(model, tiny, "val", "cpu")
        assert plain != at_views
        expected = plain if validation == "plain" else at_views
        assert {
            name: records[validation].validation[f"val_{name}"] for name in expected
        } == expected
    same = ("val_equivariance_error", "val_fixed_share", "train_loss")
    assert all(records["plain"].validation[it] == records["views"].validation[it] for it in same)


def test_a_training_on_digits_learns(double_digits, start, make_trial):
    """Two labels' worth of digits: well above chance after a few epochs on the CPU."""
    dataset = double_digits(per_label={"train": 60, "val": 20, "test": 40})
    trial = make_trial(epochs=12, patience=12, role="final", lr=1e-2)
    record = train(start(trial, dataset=dataset))
    assert record.test["test_augmented"]["accuracy"] > 0.8
    assert record.history[-1]["train_loss"] < 0.5 * record.history[0]["train_loss"]


def test_a_users_model_runs_like_a_known_one(start, make_trial):
    """`module:object` in place of a name."""
    record = train(start(make_trial(model=FROZEN, epochs=2)))
    assert record.parameters == 256 * 10 + 10 + 10 * 4 + 4
    assert FROZEN["name"] not in MODELS
    assert isinstance(MODELS["small_cnn"], ModelEntry)


NOISY = """
import random

import numpy as np
import torch
from torch import nn

from equigrid.models.small_cnn import SmallCNN


class Noisy(SmallCNN):
    '''Draws from every global generator: in training by dropout, in evaluation too.'''

    def __init__(self, input_shape, outputs, *, latent: int = 8):
        super().__init__(input_shape, outputs, width=4, latent=latent)
        self.scale = float(np.random.rand()) + random.random()

    def encode(self, x):
        z = nn.functional.dropout(super().encode(x), 0.3)
        return z + 0.1 * (torch.randn_like(z) + np.random.randn() + random.random() + self.scale)
"""


def test_what_a_model_draws_itself_is_drawn_from_named_streams(
    start, make_trial, trial_files, tmp_path, monkeypatch
):
    """By seed and epoch: alone, disturbed and resumed it is the same to the bit."""
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = {"name": "noisy:Noisy", "latent": 8}
    trial = make_trial(epochs=4, role="final", model=model, code=fingerprints("noisy:Noisy"))
    alone = train(start(trial, "alone"))
    for number in range(4):
        torch.manual_seed(number)
        np.random.seed(number)
        random.seed(number)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        start(trial, "resumed").run_epoch()
        after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
        assert torch.equal(before[0], after[0])
        assert before[1:] == after[1:]
    record = start(trial, "resumed").finish()
    assert_same(record, alone, trial_files("resumed"), trial_files("alone"))
    assert record.test == alone.test
    other = train(start(replace(trial, seed=1), "other"))
    assert other.history != alone.history
    losses = [row["train_loss"] for row in alone.history]
    assert len(set(losses)) == len(losses)
