"""Trials: the run key is the identity of what determines a training, and of nothing else."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.trial import Trial, data_key

RECIPE = {
    "builder": "ddmnist",
    "version": 1,
    "group": "C4xC4",
    "parameters": {
        "source": "mnist",
        "digits": 10,
        "per_label": {"train": 100, "val": 20, "test": 50},
        "artefacts": {"draws": 4, "variant": "paper"},
        "evaluation_digits": "shared",
        "mean": 0.06535,
        "std": 0.5551,
        "seed": 0,
    },
    "raw": {"mnist/train-images-idx3-ubyte.gz": "ba89", "mnist/train-labels-idx1-ubyte.gz": "65a5"},
}
OURS = Trial(
    experiment="ddmnist",
    row="Ours",
    dataset="C4",
    role="grid",
    model={"name": "ddmnist_cnn", "width": 6, "latent": 66},
    objective={"name": "regular_representation", "task_weights": "paper"},
    data=RECIPE,
    hyperparameters={"lr": 0.001, "lambda": 2.0},
    seed=0,
    training={"epochs": 150, "batch_size": 256, "patience": 20, "select": "val_accuracy"},
)
CHANCE = Trial(
    experiment="ddmnist",
    row="Chance",
    dataset="C4",
    role="final",
    model={"name": "majority"},
    objective={"name": "none"},
    data=RECIPE,
    hyperparameters={},
    seed=0,
    training={},
)


@pytest.mark.parametrize(
    ("trial", "version", "key"),
    [
        (OURS, 1, "c4a1a2135bb7a5525808347203bd596a1902b1c14efd62aa0e1663d5863b1fe5"),
        (CHANCE, 1, "41d9c94bf7b94fc8ed11ae77f5c2697a47206eff0646180555e76fa3cf159157"),
        (OURS, 2, "6a18b734cd8fa7419ad4ffb687eb2a6ff9ccd18fd5b88ab4b50d474a8cac743a"),
        (CHANCE, 2, "882cc6cc375f6f12de47ffc352b52a3f2923764bac9c295313fd7f169e37972f"),
    ],
    ids=["Ours 1", "Chance 1", "Ours 2", "Chance 2"],
)
def test_run_keys_are_the_golden_ones(trial, version, key):
    """A refactoring must not retrain anybody's results silently: other keys, another SCHEMA.

    Those of version 1 stay what they were: its records are still read.
    """
    assert replace(trial, training_version=version).key == key


def test_a_trial_that_does_not_say_its_version_is_of_the_first():
    old = {name: it for name, it in OURS.to_dict().items() if name != "training_version"}
    assert Trial.from_dict(old).training_version == 1


def test_code_is_in_the_key_and_twins_differ_in_it_alone():
    data = {**RECIPE, "code": {"data:D": "b" * 64}}
    own = replace(OURS, code={"net:Net": "a" * 64}, data=data)
    edited = replace(own, code={"net:Net": "c" * 64})
    assert own.all_code == {"net:Net": "a" * 64, "data:D": "b" * 64}
    assert len({OURS.key, own.key, edited.key}) == 3
    assert len({data_key(RECIPE), data_key(data)}) == 2
    assert {it.settings_key for it in (own, edited, replace(own, training_version=1))} == {
        OURS.settings_key
    }
    assert replace(OURS, seed=1).settings_key != OURS.settings_key


def test_data_keys_are_the_golden_ones():
    assert data_key(RECIPE) == "6d0a59f9956865515935211f504d9e13655a98f57542bed8c51d2299296a3fd2"


@pytest.mark.parametrize(
    "names",
    [
        {"experiment": "mine.small"},
        {"row": "My method"},
        {"dataset": "other name"},
        {"role": "final"},
    ],
)
def test_names_and_role_are_not_part_of_the_key(names):
    assert replace(OURS, **names).key == OURS.key


def test_the_order_of_settings_is_not_part_of_the_key():
    def reversed_order(value):
        if not isinstance(value, dict):
            return value
        return {name: reversed_order(value[name]) for name in reversed(value)}

    other = Trial(**reversed_order(OURS.to_dict()))
    assert list(other.training) != list(OURS.training)
    assert other.key == OURS.key
    assert data_key(reversed_order(RECIPE)) == data_key(RECIPE)


def _leaves(value, path=()):
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    else:
        yield path


SETTINGS = [
    path
    for path in _leaves(OURS.to_dict())
    if path[0] not in ("experiment", "row", "dataset", "role", "search_space_commit")
]


@pytest.mark.parametrize("path", SETTINGS, ids=".".join)
def test_any_changed_setting_changes_the_key(path):
    changed = copy.deepcopy(OURS.to_dict())
    *parents, last = path
    place = changed
    for parent in parents:
        place = place[parent]
    value = place[last]
    place[last] = value + "x" if isinstance(value, str) else value + 1
    assert Trial(**changed).key != OURS.key
    del place[last]
    if parents:
        assert Trial(**changed).key != OURS.key


def test_no_weight_decay_and_one_of_zero_are_one_training():
    searched = replace(
        OURS,
        hyperparameters={**OURS.hyperparameters, "weight_decay": 0.0},
        training={**OURS.training, "weight_decay": 0.0},
    )
    assert searched.key == OURS.key
    some = replace(searched, training={**OURS.training, "weight_decay": 1e-4})
    assert some.key != OURS.key


def test_a_number_is_the_same_however_it_is_written(tmp_path):
    """`1`, `1.0` and `1e0` in a search space are one λ, so one key."""
    keys = set()
    for number, text in enumerate(["1", "1.0", "1e0", "+1.00"]):
        path = tmp_path / f"space{number}.yaml"
        path.write_text(
            "datasets: {A: {builder: ddmnist, source: digits, group: D1xD1}}\n"
            "columns: {A: {dataset: A, split: test, metric: accuracy}}\n"
            "rows:\n  Ours: {model: small_cnn, objective: regular_representation,"
            f" grid: {{lr: [{text}], lambda: [{text}]}}}}\n"
        )
        experiment = load_experiment(str(path))
        [point] = experiment.rows["Ours"].grids["A"]
        keys.add(experiment.trial("Ours", "A", point, 0, "grid", RECIPE).key)
        whole = {name: int(value) for name, value in point.items()}
        keys.add(experiment.trial("Ours", "A", whole, 0, "grid", RECIPE).key)
    assert len(keys) == 1


def test_a_trial_survives_json():
    for trial in (OURS, CHANCE):
        back = Trial.from_dict(json.loads(json.dumps(trial.to_dict())))
        assert back == trial
        assert back.key == trial.key


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"hyperparameters": {"lr": math.nan}},
        {"hyperparameters": {"lr": math.inf}},
        {"seed": {1, 2}},
        {"seed": 1.0},
        {"seed": True},
        {"hyperparameters": {"lr": 1}},
        {"model": 3},
        {"model": {"width": 3}},
        {"role": "other"},
        {"row": "../x"},
        {"row": "a" * 300},
        {"dataset": "/etc/passwd"},
        {"dataset": "a\0b"},
        {"experiment": "../../x"},
        {"experiment": "a.b/c"},
        {"data": {**RECIPE, "builder": "../x"}},
        {"data": {}},
    ],
)
def test_what_is_no_trial_is_refused(change):
    with pytest.raises(InputError, match="not a trial"):
        Trial.from_dict({**OURS.to_dict(), **change})
    short = OURS.to_dict()
    del short["model"]
    with pytest.raises(InputError, match=r"not a trial.*model"):
        Trial.from_dict(short)


def test_a_trial_describes_itself_briefly():
    assert OURS.describe() == "Ours / C4  lr=0.001 λ=2  seed 0"
    assert OURS.arm == ("Ours", "C4")
