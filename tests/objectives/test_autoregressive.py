"""The objectives of autoregression, term by term, and their action on maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from equigrid.datasets.resident import Dataset, FixedViews
from equigrid.objectives.autoregressive import (
    Autoregressive,
    AutoregressiveAugmented,
    AutoregressiveRegularRepresentation,
)
from equigrid.objectives.batch import Batch
from equigrid.objectives.regular import LatentAction
from equigrid.objectives.task import task_named
from equigrid.symmetry import cyclic, grid_action, vector_action
from equigrid.training.evaluation import validate

SIDE, SAMPLES, FRAMES = 6, 9, 6
C4 = cyclic(4)
TASK = task_named("autoregression")


def turned(fields, element, vectors=None):
    """A field [..., 2, side, side] at an element, by numpy: the grid turns, the vectors with it."""
    vectors = vector_action(C4) if vectors is None else vectors
    moved = np.rot90(fields, element, axes=(-2, -1))
    return np.einsum("ij,...jrc->...irc", vectors[element], moved)


class Fields(Dataset):
    """Random windows of ten frames and their continuation, in float64."""

    task = "autoregression"
    metrics = ("rmse_6",)
    input_shape = (20, SIDE, SIDE)
    outputs = 2
    draws = 1
    sources = {"val": "val"}  # noqa: RUF012 - as the base class has it

    def __init__(self):
        random = np.random.default_rng(5)
        self.group = C4
        self.fields = random.normal(size=(SAMPLES, 10 + FRAMES, 2, SIDE, SIDE))
        none = torch.zeros(SAMPLES, dtype=torch.int64)
        pairs = torch.from_numpy(random.integers(4, size=SAMPLES))
        self.views = {"val": FixedViews(none, none, pairs, none)}

    def size(self, source):
        return SAMPLES

    def targets(self, source, rows):
        return torch.from_numpy(self.fields)[rows, 10:]

    def moved_targets(self, source, rows, elements):
        return self._at(slice(10, None), rows, elements)

    def plain(self, source, rows):
        return torch.from_numpy(self.fields)[rows, :10].flatten(1, 2)

    def view(self, source, rows, elements, draws):
        return self._at(slice(None, 10), rows, elements).flatten(1, 2)

    def _at(self, frames, rows, elements):
        pairs = zip(rows.tolist(), elements.tolist(), strict=True)
        return torch.from_numpy(np.stack([turned(self.fields[n, frames], g) for n, g in pairs]))


class Network(nn.Module):
    """Two convolutions in float64; the latent has three channels on the input's grid."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.first = nn.Conv2d(20, 3, 3, padding=1, dtype=torch.float64)
        self.second = nn.Conv2d(3, 2, 3, padding=1, dtype=torch.float64)

    def encode(self, x):
        return torch.tanh(self.first(x))

    def head(self, z):
        return self.second(z)

    def forward(self, x):
        return self.head(self.encode(x))


@pytest.fixture
def batch():
    rows = torch.arange(SAMPLES)
    g = torch.arange(SAMPLES) % 4
    none = torch.zeros_like(rows)
    return Batch(Fields(), rows, (g + 1) % 4, g, none, none, torch.from_numpy(C4.table.copy()))


def _mse(a, b):
    return float((a - b).detach().square().mean())


def _parts(model, batch):
    """By numpy and single steps: MSE of each frame on x, of the first on g·x, of the latents."""
    x, frames = batch.x, []
    for _ in range(FRAMES):
        frames.append(model(x))
        x = torch.cat([x[:, 2:], frames[-1]], 1)
    steps = [_mse(frame, batch.y[:, n]) for n, frame in enumerate(frames)]
    fields = batch.dataset.fields
    gx = np.stack([turned(fields[n, :10], n % 4) for n in range(SAMPLES)])
    gy = np.stack([turned(fields[n, 10], n % 4) for n in range(SAMPLES)])
    moved = torch.from_numpy(gx).flatten(1, 2)
    latents = model.encode(batch.x).detach().numpy()
    expected = np.stack([np.rot90(latents[n], n % 4, axes=(1, 2)) for n in range(SAMPLES)])
    return steps, _mse(model(moved), torch.from_numpy(gy)), expected, model.encode(moved)


def test_the_baseline_is_the_sum_over_its_own_roll_out(batch):
    model = Network()
    steps, *_ = _parts(model, batch)
    loss = Autoregressive({"lr": 1.0})(model, batch, TASK)
    assert loss.total.item() == pytest.approx(sum(steps), rel=1e-12)
    assert loss.outputs.shape == (SAMPLES, FRAMES, 2, SIDE, SIDE)
    assert loss.terms == {}


@pytest.mark.parametrize("latents", ["paper", "released"])
def test_the_method_is_the_augmented_baseline_and_its_latent_term(batch, latents):
    """½ + ½ of the first step, steps 2–6 on x; `released` compares with the first sample's."""
    model = Network()
    steps, moved, expected, found = _parts(model, batch)
    augmented = 0.5 * steps[0] + 0.5 * moved + sum(steps[1:])
    baseline = AutoregressiveAugmented({"lr": 1.0})(model, batch, TASK)
    assert baseline.total.item() == pytest.approx(augmented, rel=1e-12)
    if latents == "released":
        expected = np.broadcast_to(expected[:1], expected.shape)
    mismatch = (found - torch.from_numpy(expected.copy())).square().mean().item()
    objective = AutoregressiveRegularRepresentation({"lambda": 0.3}, latents=latents)
    objective.prepare(model, batch.dataset)
    loss = objective(model, batch, TASK)
    assert float(loss.terms["equivariance_loss"]) == pytest.approx(mismatch, rel=1e-12)
    assert loss.total.item() == pytest.approx(augmented + 0.3 * mismatch, rel=1e-12)


def test_every_term_reaches_the_encoder_twice(batch):
    """Nothing is detached: the latent term alone moves both passes."""
    model = Network()
    objective = AutoregressiveRegularRepresentation({"lambda": 1.0})
    objective.prepare(model, batch.dataset)
    loss = objective(model, batch, TASK)
    baseline = AutoregressiveAugmented({"lr": 1.0})(model, batch, TASK)
    (gradient,) = torch.autograd.grad(loss.total - baseline.total, [model.first.weight])
    z, moved = model.encode(batch.x), model.encode(batch.gx)
    expected = LatentAction(C4, z.shape[1:], "cpu")(batch.g, z)
    (both,) = torch.autograd.grad(
        torch.nn.functional.mse_loss(expected, moved), [model.first.weight]
    )
    torch.testing.assert_close(gradient, both)


class Divergence(nn.Module):
    """Latent: the divergence of the last frame, then its square: scalars, so exactly equivariant.

    signs: of the two components' derivatives; (1, 1) is the divergence.
    """

    def __init__(self, signs):
        super().__init__()
        self.signs = signs

    def encode(self, x):
        u, v = x[:, -2], x[:, -1]
        # Around the torus, which quarter turns map to itself.
        across = torch.roll(u, -1, 2) - torch.roll(u, 1, 2)
        upward = torch.roll(v, -1, 1) - torch.roll(v, 1, 1)
        found = self.signs[0] * across + self.signs[1] * upward
        return torch.stack([found, found.square()], 1)

    def head(self, z):
        return z

    def forward(self, x):
        return self.head(self.encode(x))


@pytest.mark.parametrize(
    ("signs", "equivariant"),
    [((1, 1), True), ((1, -1), False)],
    ids=["divergence", "one sign broken"],
)
def test_an_exactly_equivariant_network_has_no_equivariance_loss(batch, signs, equivariant):
    """In training and in validation; with one sign broken it has."""
    model = Divergence(signs)
    objective = AutoregressiveRegularRepresentation({"lambda": 1.0})
    objective.prepare(model, batch.dataset)
    loss = objective(model, batch, TASK)
    action = LatentAction(C4, (2, SIDE, SIDE), "cpu")
    table = torch.from_numpy(C4.table.copy())
    scores = validate(model, batch.dataset, action, table, "cpu")
    errors = [
        float(loss.terms["equivariance_loss"]),
        scores["equivariance_loss"],
        scores["equivariance_error"],
    ]
    if equivariant:
        assert max(errors) < 1e-20
    else:
        assert min(errors) > 1e-2


def test_the_action_on_maps_is_a_homomorphism_and_mixes_no_channels():
    action = LatentAction(C4, (3, SIDE, SIDE), "cpu")
    z = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for g in range(4):
        for h in range(4):
            once = action(torch.tensor([h]), z)
            both = action(torch.tensor([g]), once)
            torch.testing.assert_close(both, action(torch.tensor([C4.table[g, h]]), z))
    turned_once = action(torch.tensor([1]), z)
    np.testing.assert_array_equal(turned_once.numpy(), np.rot90(z.numpy(), 1, axes=(2, 3)))
    assert (action.indices.numpy() == grid_action(C4, (SIDE, SIDE))).all()
