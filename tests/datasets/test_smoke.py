"""SMOKE as a dataset: windows, splits, and C4 acting on fields; physics is tested beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equigrid.config.experiment import load_experiment
from equigrid.datasets.smoke.builder import Smoke, SmokeParameters
from equigrid.models.steerable_field_cnn import PartiallySteerableFieldCNN, SteerableFieldCNN
from equigrid.symmetry import cyclic, dihedral, group_by_name

C4 = cyclic(4)
STARTS = {"train": [0, 10], "val": [10, 14], "future": [14, 19], "domain": [2, 8]}
SMALL = {"grid": 8, "steps": 52, "simulations": 6, "train": [3, 1, 5], "domain": [6, 2]}


def builder(group=C4, **parameters):
    return Smoke(SmokeParameters(**{**SMALL, "starts": STARTS, **parameters}), group)


@pytest.fixture
def velocity():
    """Not simulated: every number tells where it is from."""
    return np.random.default_rng(0).normal(size=(6, 51, 2, 8, 8)).astype(np.float32)


def resident(made, velocity, quiet):
    arrays = {"velocity": velocity}
    for split in ("train", "val", "future", "domain"):
        arrays[f"{split}/windows"] = np.array(made._windows(split))
    return made.resident({**arrays, **made.augment(arrays, quiet)}, "cpu")


def test_the_published_splits_have_their_sizes():
    """4 000 training windows, 25 · 40 validation, 25 · 50 future, 1 000 domain; 309 frames."""
    made = load_experiment("smoke").datasets["smoke"].builder
    sizes = {split: len(made._windows(split)) for split in ("train", "val", "future", "domain")}
    assert sizes == {"train": 4000, "val": 1000, "future": 1250, "domain": 1000}
    assert made.train_size == 4000
    assert made.input_shape == (20, 64, 64)
    used = {simulation + 1 for split in sizes for simulation, _ in made._windows(split)}
    assert used == set(range(1, 37)) - {32}


def test_windows_are_ten_frames_and_their_continuation(velocity, quiet):
    """A window at s: frames s+2 … s+11 in, frame-major, then s+12 … as targets."""
    dataset = resident(builder(), velocity, quiet)
    for source, horizon in (("train", 6), ("val", 6), ("future", 20), ("domain", 20)):
        rows = torch.arange(dataset.size(source))
        inputs, targets = dataset.plain(source, rows), dataset.targets(source, rows)
        assert targets.shape == (len(rows), horizon, 2, 8, 8)
        numbers = SMALL["domain" if source == "domain" else "train"]
        windows = [(k, s) for k in numbers for s in range(*STARTS[source])]
        assert len(windows) == len(rows)
        for row, (k, s) in enumerate(windows):
            frames = velocity[k - 1, s + 2 : s + 12]
            np.testing.assert_array_equal(inputs[row].numpy(), frames.reshape(20, 8, 8))
            expected = velocity[k - 1, s + 12 : s + 12 + horizon]
            np.testing.assert_array_equal(targets[row].numpy(), expected)


def test_windows_share_the_simulations_memory(velocity, quiet):
    """4 000 windows of 16 frames would be 2 GB at full size; only batches are copied."""
    dataset = resident(builder(), velocity, quiet)
    assert dataset._velocity.data_ptr() == velocity.ctypes.data


@pytest.mark.parametrize("group", [C4, dihedral(4)])
def test_the_action_on_fields_is_a_homomorphism(velocity, quiet, group):
    """g·(h·x) = (gh)·x for all pairs, on inputs and on targets, which move alike."""
    dataset = resident(builder(group), velocity, quiet)
    rows, none = torch.tensor([7]), torch.tensor([0])
    for g in range(group.order):
        for h in range(group.order):
            gh = torch.tensor([group.table[g, h]])
            once = dataset.view("train", rows, torch.tensor([h]), none)
            frames = once.unflatten(1, (10, 2))
            both = dataset._moved(frames, torch.tensor([g])).flatten(1, 2)
            assert torch.equal(both, dataset.view("train", rows, gh, none))
    moved = dataset.moved_targets("train", rows, torch.tensor([1]))
    assert torch.equal(moved, dataset._moved(dataset.targets("train", rows), torch.tensor([1])))


def test_a_quarter_turn_takes_u_to_the_right_to_u_downwards(velocity, quiet):
    """rot90 over (row, column) with rows = +y is clockwise: (u_x, u_y) → (u_y, −u_x)."""
    row, none = torch.tensor([0]), torch.tensor([0])
    for action, sign in (("paper", 1), ("released", -1)):
        dataset = resident(builder(action=action), velocity, quiet)
        x = dataset.plain("train", row).numpy()
        for k, (ux, uy) in enumerate(
            [(x[:, 0::2], x[:, 1::2]), (x[:, 1::2], -x[:, 0::2])], start=0
        ):
            moved = dataset.view("train", row, torch.tensor([k]), none).numpy()
            turned = sign if k else 1  # `released` reverses the vectors at 90° and 270° only
            np.testing.assert_allclose(moved[:, 0::2], turned * np.rot90(ux, k, (2, 3)), atol=1e-6)
            np.testing.assert_allclose(moved[:, 1::2], turned * np.rot90(uy, k, (2, 3)), atol=1e-6)


@pytest.mark.parametrize("make", [SteerableFieldCNN, PartiallySteerableFieldCNN])
@pytest.mark.parametrize("action", ["paper", "released"])
def test_steerable_networks_commute_with_the_dataset_s_action(velocity, quiet, make, action):
    """And with no other: views and networks take the sense of the vectors from one place."""
    datasets = {it: resident(builder(action=it), velocity, quiet) for it in ("paper", "released")}
    torch.manual_seed(0)
    shape = datasets[action].input_shape
    model = make(shape, 2, group=datasets[action].group, width=2).eval()
    rows, none = torch.tensor([4]), torch.tensor([0])
    for element in range(4):
        at = torch.tensor([element])
        for name, dataset in datasets.items():
            with torch.no_grad():
                turned = model(dataset.view("train", rows, at, none))
                found = dataset._moved(model(dataset.plain("train", rows))[:, None], at)[:, 0]
            gap = (turned - found).abs().max()
            holds = name == action or element in (0, 2)  # half a turn is its own inverse
            assert (gap < 1e-5) == holds, (element, name, gap)


def test_validation_pairs_are_x_and_a_turned_x(velocity, quiet):
    dataset = resident(builder(), velocity, quiet)
    views = dataset.views["val"]
    assert (views.elements == 0).all()
    assert set(views.pair_elements.tolist()) == {0, 1, 2, 3}
    rows = torch.arange(dataset.size("val"))
    assert torch.equal(
        dataset.view("val", rows, views.elements, views.draws), dataset.plain("val", rows)
    )


def test_all_flows_are_simulated_with_their_strength(quiet):
    """k = 1 … n by number: each stronger than the one before it in its orientation."""
    made = builder(steps=52, simulations=6)
    found = made.build(None, quiet)["velocity"]
    assert found.shape == (6, 51, 2, 8, 8)
    energy = np.square(found[:, 20]).sum((1, 2, 3))
    assert (energy[4:] > energy[:2]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"starts": {**STARTS, "future": [14, 30]}}, "starts.future: .* does not fit into 52"),
        ({"starts": {**STARTS, "val": [5, 5]}}, "starts.val"),
        ({"train": [1, 7]}, "different numbers of 1 … 6"),
        ({"train": [1, 2]}, "different numbers of 1 … 6"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        builder(**change)


@pytest.mark.parametrize(
    ("group", "options", "said"),
    [
        ("C3", {}, "does not act exactly"),
        ("octahedral", {}, "does not act on the plane"),
        ("D4", {"action": "released"}, "is no action"),
    ],
)
def test_groups_that_cannot_turn_fields_are_refused(group, options, said):
    with pytest.raises(ValueError, match=said):
        builder(group_by_name(group), **options)
