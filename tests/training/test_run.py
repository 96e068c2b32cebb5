"""One trial: to the bit the same however often it is interrupted, and tested as promised."""

from __future__ import annotations

import importlib
import json
import os
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from equigrid.errors import TrainingDivergedError
from equigrid.metrics.direction import is_better
from equigrid.own_parts.source_code import fingerprints
from equigrid.record import Record
from equigrid.registry import MODELS, ModelEntry
from equigrid.training.evaluation import evaluate
from equigrid.training.model import build_model
from equigrid.training.run import TrialRun
from equigrid.training.streams import stream, stream_seed
from equigrid.training.weights import load_weights

DATA = "d" * 64


@pytest.fixture
def start(tiny, trial_files):
    """`start(trial, name)`: the run of a trial on the tiny dataset, in a folder of that name."""
    return lambda trial, name="trial", dataset=tiny: TrialRun(
        trial, dataset, DATA, trial_files(name), "cpu"
    )


def _train(run):
    while not run.done:
        run.run_epoch()
    return run.finish()


def _without_times(record):
    return {k: v for k, v in asdict(record).items() if k not in ("started", "epoch_seconds")}


def _assert_same(record, other, files, other_files):
    """The records but for their times, and the best weights to the bit."""
    assert _without_times(record) == _without_times(other)
    weights, others = (load_weights(each.weights)[0] for each in (files, other_files))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


def test_resuming_after_any_epoch_changes_nothing(start, make_trial, trial_files):
    """Stopped after each epoch in turn, also before the first: history, weights and record."""
    trial = make_trial(epochs=5, role="final")
    undisturbed = _train(start(trial, "undisturbed"))
    assert len(undisturbed.history) == 5
    for stop in range(6):
        name = f"stopped after {stop}"
        run = start(trial, name)
        for _ in range(stop):
            run.run_epoch()
        run = start(trial, name)  # the first is abandoned, as by SIGKILL
        assert len(run.history) == stop
        record = _train(run)
        _assert_same(record, undisturbed, trial_files(name), trial_files("undisturbed"))
        assert len(record.epoch_seconds) == 5


@pytest.mark.parametrize("objective", ["augmented", "regular_representation"])
def test_resuming_after_every_epoch_changes_nothing(start, make_trial, trial_files, objective):
    changes = {"epochs": 4, "objective": {"name": objective}}
    trial = make_trial(**changes)
    undisturbed = _train(start(trial, "undisturbed"))
    for _ in range(4):
        start(trial, "stuttering").run_epoch()
    record = start(trial, "stuttering").finish()
    _assert_same(record, undisturbed, trial_files("stuttering"), trial_files("undisturbed"))


def test_a_torn_checkpoint_costs_an_epoch_and_changes_nothing(start, make_trial, trial_files):
    """The newest is torn: the one before it is taken, and the journal begins anew."""
    trial = make_trial(epochs=5)
    undisturbed = _train(start(trial, "undisturbed"))
    run = start(trial, "torn")
    for _ in range(3):
        run.run_epoch()
    files = trial_files("torn")
    os.truncate(files.checkpoint, files.checkpoint.stat().st_size // 2)
    run = start(trial, "torn")
    assert len(run.history) == 2
    assert len(files.journal.read_text().splitlines()) == 2
    _assert_same(_train(run), undisturbed, files, trial_files("undisturbed"))


def test_the_journal_has_a_line_per_epoch_until_the_record_is_there(start, make_trial, trial_files):
    trial, files = make_trial(), trial_files()
    run = start(trial)
    rows = [run.run_epoch(), run.run_epoch()]
    lines = [json.loads(line) for line in files.journal.read_text().splitlines()]
    assert [line.pop("seconds") > 0 for line in lines] == [True, True]
    assert lines == [{"epoch": n, **row} for n, row in enumerate(rows, 1)]
    record = _train(run)
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
    alone = {name: _train(start(trial, f"{name} alone")) for name, trial in trials.items()}
    torch.manual_seed(99)
    runs = {name: start(trial, name) for name, trial in reversed(trials.items())}
    while not all(run.done for run in runs.values()):
        for run in runs.values():
            torch.rand(3)
            if not run.done:
                run.run_epoch()
    for name, run in runs.items():
        _assert_same(run.finish(), alone[name], trial_files(name), trial_files(f"{name} alone"))
    assert alone["a"].history != alone["b"].history


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


@pytest.mark.parametrize(("patience", "epochs"), [(1, 9), (3, 9), (4, 5), (9, 5)])
def test_patience_counts_epochs_without_a_strictly_better_score(
    start, make_trial, patience, epochs
):
    """A score that never changes: the first epoch is best, `patience` more epochs follow."""
    trial = make_trial(lr=1e-30, model=FROZEN, patience=patience, epochs=epochs)
    record = _train(start(trial))
    assert len({epoch["val_accuracy"] for epoch in record.history}) == 1
    assert record.best_epoch == 1
    assert len(record.history) == min(1 + patience, epochs)


def test_among_equal_scores_the_first_epoch_wins(start, make_trial):
    """On a real training that reaches its best score more than once."""
    trial = make_trial(lr=3e-3, epochs=40, patience=6)
    record = _train(start(trial))
    scores = [epoch["val_accuracy"] for epoch in record.history]
    assert scores.count(max(scores)) > 1, "no tie: the test shows nothing"
    assert record.best_epoch == scores.index(max(scores)) + 1
    assert 1 < record.best_epoch == len(scores) - 6
    assert record.validation == record.history[record.best_epoch - 1]
    # Every longest stretch without an improvement before the end was shorter than the patience.
    bests = np.maximum.accumulate(scores)
    improvements = [n for n in range(1, len(scores)) if bests[n] > bests[n - 1]]
    assert max(np.diff([0, *improvements])) <= 6


def test_a_loss_is_better_when_lower(start, make_trial):
    record = _train(start(make_trial(select="val_loss", epochs=6, patience=6, lr=2e-2)))
    losses = [epoch["val_loss"] for epoch in record.history]
    assert record.best_epoch == losses.index(min(losses)) + 1


@pytest.mark.parametrize(
    ("score", "value", "than", "better"),
    [
        ("val_accuracy", 0.0, None, True),
        ("val_accuracy", 0.6, 0.5, True),
        ("val_accuracy", 0.5, 0.5, False),
        ("val_loss", 0.4, 0.5, True),
        ("val_loss", 0.5, 0.5, False),
        ("val_loss", 0.6, 0.5, False),
    ],
)
def test_only_strict_improvements_count(score, value, than, better):
    assert is_better(score, value, than) == better


def test_a_training_that_diverges_is_said_and_leaves_no_record(start, make_trial, trial_files):
    run = start(make_trial(lr=1e20))
    with pytest.raises(TrainingDivergedError, match=r"train_loss is (nan|inf) in epoch \d"):
        _train(run)
    assert not trial_files().record.exists()
    assert not trial_files().weights.exists()


def test_a_final_tests_its_best_weights_and_a_grid_trial_does_not_test(
    start, make_trial, trial_files, tiny
):
    """Not those of the last epoch; test splits plain and at their fixed elements."""
    trial = make_trial(role="final", epochs=30, patience=5)
    record = _train(start(trial))
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
    grid = _train(start(replace(trial, role="grid"), "grid"))
    assert grid.test is None
    assert (grid.key, grid.history, grid.best_epoch) == (
        record.key, record.history, record.best_epoch
    )  # fmt: skip
    # The weights are those of the best epoch: a training cut off there has them as its last.
    short = _train(start(make_trial(epochs=record.best_epoch, patience=99), "short"))
    weights = [load_weights(trial_files(name).weights)[0] for name in ("trial", "short")]
    assert short.best_epoch == record.best_epoch
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_finished_training_is_only_evaluated(start, make_trial, trial_files):
    """A grid trial's record and weights are all that a final of the same key needs."""
    grid = make_trial(role="grid")
    trained = _train(start(grid))
    run = start(replace(grid, role="final", row="another name"))
    assert run.done
    record = run.finish()
    assert record.test is not None
    assert replace(record, test=None, trial=trained.trial) == trained
    undisturbed = _train(start(replace(grid, role="final"), "at once"))
    assert record.test == undisturbed.test
    assert Record.load(trial_files().record) == record


@pytest.mark.parametrize("state", ["gone", "there"])
@pytest.mark.parametrize("damage", ["missing", "altered", "truncated", "of another training"])
def test_without_its_weights_a_training_is_repeated_with_the_same_result(
    start, make_trial, trial_files, damage, state
):
    trial = make_trial(role="final")
    first = _train(start(trial))
    _train(start(make_trial(seed=1), "other"))
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
    assert _without_times(_train(run)) == _without_times(first)
    assert load_weights(path)[1] == first.weights_sha256


def test_a_last_batch_of_one_sample_is_left_out(start, make_trial, tiny):
    """Batch normalisation has no variance of a single sample: 48 = 47 + 1."""
    record = _train(start(make_trial(batch_size=47, epochs=2)))
    assert len(record.history) == 2
    accuracy = record.history[0]["train_accuracy"] * 47
    assert accuracy == pytest.approx(round(accuracy))


def test_the_equivariance_scores_are_recorded_for_every_objective(start, make_trial):
    """Reported for every row whose latent holds the group, and never trained on."""
    for objective in ("augmented", "unaugmented", "regular_representation"):
        record = _train(start(make_trial(objective={"name": objective}, epochs=1), objective))
        assert {"val_loss", "val_accuracy", "val_equivariance_error"} <= set(record.validation)
    small = make_trial(
        objective={"name": "augmented"}, model={"name": "small_cnn", "width": 4, "latent": 3}
    )
    assert "val_equivariance_error" not in _train(start(small, "small")).validation


def test_two_views_are_the_method_without_its_penalty(start, make_trial, trial_files):
    """Weights and scores equal to the bit those of λ = 0, but for what was not computed."""
    trials = {
        "zero": make_trial(strength=0.0, role="final"),
        "alone": replace(
            make_trial(objective={"name": "two_views"}, role="final"), hyperparameters={"lr": 3e-3}
        ),
    }
    zero, alone = (_train(start(trial, name)) for name, trial in trials.items())
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
        records[validation] = _train(start(trial, validation))
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


def test_a_training_on_digits_learns(double_digits, start, make_trial):
    """Two labels' worth of digits: well above chance after a few epochs on the CPU."""
    dataset = double_digits(per_label={"train": 60, "val": 20, "test": 40})
    trial = make_trial(epochs=12, patience=12, role="final", lr=1e-2)
    record = _train(start(trial, dataset=dataset))
    assert record.test["test_augmented"]["accuracy"] > 0.8
    assert record.history[-1]["train_loss"] < 0.5 * record.history[0]["train_loss"]


def test_a_users_model_runs_like_a_known_one(start, make_trial):
    """`module:object` in place of a name."""
    record = _train(start(make_trial(model=FROZEN, epochs=2)))
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
    alone = _train(start(trial, "alone"))
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
    _assert_same(record, alone, trial_files("resumed"), trial_files("alone"))
    assert record.test == alone.test
    other = _train(start(replace(trial, seed=1), "other"))
    assert other.history != alone.history
    losses = [row["train_loss"] for row in alone.history]
    assert len(set(losses)) == len(losses)
