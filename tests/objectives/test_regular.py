"""The objectives against dense matrices in NumPy, and on an encoder that is exactly equivariant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from equigrid.datasets.resident import Dataset, FixedViews
from equigrid.objectives.batch import Batch
from equigrid.objectives.latents import points_of_an_orbit
from equigrid.objectives.regular import LatentAction, RegularRepresentation
from equigrid.objectives.task import Augmented, Unaugmented, task_named
from equigrid.symmetry import grid_action, group_by_name
from equigrid.training.analysis import analyse
from equigrid.training.evaluation import validate

FEATURES, CLASSES, SAMPLES, DRAWS = 5, 3, 7, 2
TASK = task_named("classification")


class TableOfViews(Dataset):
    """Every sample at every element and draw is a random vector of its own: no two coincide."""

    task = "classification"
    input_shape = (FEATURES,)
    outputs = CLASSES
    draws = DRAWS
    sources: dict[str, str] = {}  # noqa: RUF012 - as the base class has it
    views: dict[str, FixedViews] = {}  # noqa: RUF012

    def __init__(self, group):
        random = np.random.default_rng(3)
        self.group = group
        self.inputs = random.normal(size=(SAMPLES, group.order, DRAWS, FEATURES))
        self.untouched = random.normal(size=(SAMPLES, FEATURES))
        self.labels = random.integers(CLASSES, size=SAMPLES)

    def size(self, source):
        return SAMPLES

    def targets(self, source, rows):
        return torch.from_numpy(self.labels)[rows]

    def plain(self, source, rows):
        return torch.from_numpy(self.untouched)[rows]

    def view(self, source, rows, elements, draws):
        return torch.from_numpy(self.inputs)[rows, elements, draws]


class TwoLayers(nn.Module):
    """z = tanh(W x), outputs = V z, in float64; counts what is encoded."""

    def __init__(self, latent):
        super().__init__()
        random = np.random.default_rng(4)
        self.w = nn.Parameter(torch.from_numpy(random.normal(size=(latent, FEATURES))))
        self.v = nn.Parameter(torch.from_numpy(random.normal(size=(CLASSES, latent))))
        self.encoded = []

    def encode(self, x):
        self.encoded.append(x)
        return torch.tanh(x @ self.w.T)

    def head(self, z):
        return z @ self.v.T

    def forward(self, x):
        return self.head(self.encode(x))


def _batch(dataset):
    rows = torch.tensor([6, 0, 3, 3, 5, 1])
    random = np.random.default_rng(5)
    a, g = (torch.from_numpy(random.integers(dataset.group.order, size=6)) for _ in range(2))
    first, second = (torch.from_numpy(random.integers(DRAWS, size=6)) for _ in range(2))
    return Batch(dataset, rows, a, g, first, second, torch.from_numpy(dataset.group.table.copy()))


def _left_regular(group):
    """[n, n, n]: R(g) e_h = e_{gh}; the Kronecker product of the factors' for a product."""
    if group.factors:
        left, right = map(_left_regular, group.factors)
        return np.stack([np.kron(g, h) for g in left for h in right])
    matrices = np.zeros((group.order,) * 3)
    for g in range(group.order):
        for h in range(group.order):
            matrices[g, group.table[g, h], h] = 1
    return matrices


def _latent_matrices(group, dimension):
    """block_diag(I_m ⊗ R(g), I_r), [n, d, d]."""
    copies = dimension // group.order
    matrices = np.stack([np.eye(dimension)] * group.order)
    size = copies * group.order
    matrices[:, :size, :size] = [np.kron(np.eye(copies), r) for r in _left_regular(group)]
    return matrices


def _cross_entropy(outputs, targets):
    shifted = outputs - outputs.max(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -logs[np.arange(len(targets)), targets].mean()


def _dense_loss(dataset, batch, w, v, strength, weights):
    """The loss of section 1, written down again with d×d matrices."""
    rows, a, g = batch.rows.numpy(), batch.a.numpy(), batch.g.numpy()
    group = dataset.group
    matrices = _latent_matrices(group, len(w))
    # ga by its matrix: the regular representation is faithful.
    products = [
        next(e for e in range(group.order) if (matrices[e] == matrices[p] @ matrices[q]).all())
        for p, q in zip(g, a, strict=True)
    ]
    z1 = np.tanh(dataset.inputs[rows, a, batch.first_draw] @ w.T)
    z2 = np.tanh(dataset.inputs[rows, products, batch.second_draw] @ w.T)
    y = dataset.labels[rows]
    mismatch = ((matrices[g] @ z1[:, :, None])[:, :, 0] - z2) ** 2
    return (
        weights[0] * _cross_entropy(z1 @ v.T, y)
        + weights[1] * _cross_entropy(z2 @ v.T, y)
        + strength * mismatch.mean()
    )


def _numerical_gradient(function, point, step=1e-6):
    gradient = np.empty_like(point)
    for place in np.ndindex(point.shape):
        ends = []
        for sign in (1, -1):
            moved = point.copy()
            moved[place] += sign * step
            ends.append(function(moved))
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize(
    ("task_weights", "weights"), [("paper", (0.5, 0.5)), ("released", (1.0, 0.0))]
)
@pytest.mark.parametrize(("name", "latent"), [("D3", 14), ("C2xC2", 10), ("D1xC3", 7)])
def test_loss_and_gradient_equal_the_dense_computation(name, latent, task_weights, weights):
    """w1·L(f(x1), y) + w2·L(f(x2), y) + λ·MSE(ρ_Z(g)E(x1), E(x2)); nothing is detached."""
    dataset, model = TableOfViews(group_by_name(name)), TwoLayers(latent)
    batch, strength = _batch(dataset), 1.7
    objective = RegularRepresentation({"lr": 1e-3, "lambda": strength}, task_weights=task_weights)
    objective.imposed_action = LatentAction(dataset.group, [latent], "cpu")
    loss = objective(model, batch, TASK)
    loss.total.backward()

    w, v = model.w.detach().numpy(), model.v.detach().numpy()
    expected = _dense_loss(dataset, batch, w, v, strength, weights)
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    only_mismatch = _dense_loss(dataset, batch, w, v, 1.0, (0, 0))
    assert loss.terms["equivariance_loss"].item() == pytest.approx(only_mismatch, abs=1e-6)
    np.testing.assert_allclose(
        model.w.grad.numpy(),
        _numerical_gradient(lambda p: _dense_loss(dataset, batch, p, v, strength, weights), w),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        model.v.grad.numpy(),
        _numerical_gradient(lambda p: _dense_loss(dataset, batch, w, p, strength, weights), v),
        atol=1e-6,
    )
    assert len(model.encoded) == 2


@pytest.mark.parametrize(("objective", "view"), [(Augmented, "x1"), (Unaugmented, "x")])
def test_baselines_encode_their_own_view_once(objective, view):
    """The augmented baseline is L(f(x1), y), the unaugmented one L(f(x), y): one encoder pass."""
    dataset, model = TableOfViews(group_by_name("D3")), TwoLayers(8)
    batch = _batch(dataset)
    loss = objective({"lr": 1e-3})(model, batch, TASK)
    assert len(model.encoded) == 1
    rows = batch.rows.numpy()
    x = {
        "x1": dataset.inputs[rows, batch.a, batch.first_draw],
        "x": dataset.untouched[rows],
    }[view]
    np.testing.assert_array_equal(model.encoded[0].numpy(), x)
    outputs = np.tanh(x @ model.w.detach().numpy().T) @ model.v.detach().numpy().T
    expected = _cross_entropy(outputs, dataset.labels[rows])
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(loss.outputs.detach().numpy(), outputs, atol=1e-12)
    assert loss.terms == {}


@pytest.mark.parametrize(("name", "dimension"), [("D4", 19), ("C4xC4", 66)])
def test_the_latent_action_gathers_what_the_matrices_multiply(name, dimension):
    group = group_by_name(name)
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(group.order, dimension)))
    moved = LatentAction(group, [dimension], "cpu")(torch.arange(group.order), z)
    dense = _latent_matrices(group, dimension) @ z.numpy()[:, :, None]
    np.testing.assert_array_equal(moved.numpy(), dense[:, :, 0])


class TurnedGrids(TableOfViews):
    """Random images or volumes under the exact action of their group."""

    draws = 1
    sources = {"val": "val"}  # noqa: RUF012

    def __init__(self, group, shape):
        super().__init__(group)
        random = np.random.default_rng(6)
        self.input_shape = (int(np.prod(shape)),)
        self.images = torch.from_numpy(random.normal(size=(SAMPLES, *self.input_shape)))
        self.action = torch.from_numpy(grid_action(group, shape))
        elements, pairs = (
            torch.from_numpy(random.integers(group.order, size=SAMPLES)) for _ in range(2)
        )
        none = torch.zeros(SAMPLES, dtype=torch.int64)
        self.views = {"val": FixedViews(elements, none, pairs, none)}

    def view(self, source, rows, elements, draws):
        return self.images[rows].gather(1, self.action[elements])


class OrbitEncoder(nn.Module):
    """E(x)[h] = φ(k_h x) with a non-linear φ: exactly equivariant for k_h = h⁻¹ only."""

    def __init__(self, action, elements):
        super().__init__()
        self.preimages = action[elements]  # [n, pixels]
        self.weight = nn.Parameter(torch.linspace(-1, 1, action.shape[1], dtype=torch.float64))

    def encode(self, x):
        return torch.tanh(x[:, self.preimages] @ self.weight)

    def head(self, z):
        return z[:, :CLASSES]


@pytest.mark.parametrize(("name", "shape"), [("D4", (6, 6)), ("octahedral", (3, 3, 3))])
@pytest.mark.parametrize(
    ("elements", "equivariant"),
    [
        pytest.param("inverse", True, id="h⁻¹x"),
        pytest.param("itself", False, id="hx: equivariant for the right regular one"),
        pytest.param("shuffled", False, id="coordinates in another order"),
    ],
)
def test_an_exactly_equivariant_encoder_has_no_equivariance_loss(
    elements, equivariant, name, shape
):
    """In training (the objective's term) and in validation (loss and relative error)."""
    group = group_by_name(name)
    dataset = TurnedGrids(group, shape)
    order = {
        "inverse": group.inverse,
        "itself": np.arange(group.order),
        "shuffled": np.roll(group.inverse, 1),
    }[elements]
    model = OrbitEncoder(dataset.action, torch.from_numpy(order.copy()))
    table = torch.from_numpy(group.table.copy())
    everything = torch.arange(SAMPLES)
    a, g = dataset.views["val"].elements, dataset.views["val"].pair_elements
    none = torch.zeros_like(everything)
    batch = Batch(dataset, everything, a, g, none, none, table)
    objective = RegularRepresentation({"lambda": 1.0})
    action = objective.imposed_action = LatentAction(group, [group.order], "cpu")
    training = objective(model, batch, TASK)
    scores = validate(model, dataset, action, table, "cpu")
    errors = [
        float(training.terms["equivariance_loss"]),
        scores["equivariance_loss"],
        scores["equivariance_error"],
    ]
    if equivariant:
        assert max(errors) < 1e-6
    else:
        assert min(errors) > 1e-2
    # The relative error is the loss over the latent's variance: recomputed with matrices.
    matrices = _latent_matrices(group, group.order)[g]
    z1, z2 = (model.encode(x).detach().numpy() for x in (batch.x1, batch.x2))
    mismatch = (matrices @ z1[:, :, None])[:, :, 0] - z2
    spread = ((z2 - z2.mean(0)) ** 2).sum()
    assert scores["equivariance_loss"] == pytest.approx((mismatch**2).mean(), abs=1e-9)
    assert scores["equivariance_error"] == pytest.approx((mismatch**2).sum() / spread, abs=1e-9)


class InvariantEncoder(OrbitEncoder):
    """The orbit's mean in every coordinate: the same for x and g·x, whatever the action."""

    def encode(self, x):
        return super().encode(x).mean(1, keepdim=True).expand(-1, len(self.preimages))


@pytest.mark.parametrize(("name", "shape"), [("D4", (6, 6)), ("octahedral", (3, 3, 3))])
def test_controls_ask_for_what_no_equivariant_encoder_gives(name, shape):
    """An equivariant encoder meets the group's own action alone; an invariant one meets all."""
    group = group_by_name(name)
    dataset, table = TurnedGrids(group, shape), torch.from_numpy(group.table.copy())
    views, everything = dataset.views["val"], torch.arange(SAMPLES)
    none = torch.zeros_like(everything)
    batch = Batch(dataset, everything, views.elements, views.pair_elements, none, none, table)
    penalties = {}
    for encoder in (OrbitEncoder, InvariantEncoder):
        model = encoder(dataset.action, torch.from_numpy(group.inverse.copy()))
        for action in ("regular", "scrambled", "identity"):
            objective = RegularRepresentation({"lambda": 1.0}, action=action)
            objective.imposed_action = LatentAction(group, [group.order], "cpu", action)
            loss = objective(model, batch, TASK)
            penalties[encoder.__name__, action] = float(loss.terms["equivariance_loss"].detach())
    assert penalties.pop(("OrbitEncoder", "scrambled")) > 1e-2
    assert penalties.pop(("OrbitEncoder", "identity")) > 1e-2
    assert max(penalties.values()) < 1e-20


class ManyImages(TurnedGrids):
    """Enough of them to estimate an action from; one channel."""

    input_shape = (1, 6, 6)

    def __init__(self, group):
        super().__init__(group, (6, 6))
        self.images = torch.from_numpy(np.random.default_rng(7).normal(size=(400, 36)))
        self.sources, self.views, self.input_shape = {"test": "test"}, {}, (1, 6, 6)

    def size(self, source):
        return len(self.images)

    def plain(self, source, rows):
        return self.images[rows].reshape(-1, 1, 6, 6)

    def view(self, source, rows, elements, draws):
        return super().view(source, rows, elements, draws).reshape(-1, 1, 6, 6)


class Pointwise(nn.Module):
    """Two channels, functions of each pixel: their maps move with the grid."""

    def encode(self, x):
        return torch.cat([torch.tanh(x), x], 1)


class Averaged(Pointwise):
    """Maps that are the same at every point, and so whatever the group does."""

    def encode(self, x):
        return super().encode(x).mean((2, 3), keepdim=True).expand(-1, -1, *x.shape[2:])


def test_latent_maps_are_analysed_at_one_orbit_of_points():
    """Twice the regular representation where maps move with the grid, else the trivial one."""
    group = group_by_name("C4")
    points = points_of_an_orbit(group, (6, 6))
    assert len(set(points)) == 4
    assert {*grid_action(group, (6, 6))[:, points[0]]} == {*points}
    dataset = ManyImages(group)
    found = analyse(Pointwise(), Averaged(), dataset, "test", "cpu")
    moving, still = (found["networks"][name] for name in ("trained", "untrained"))
    assert (found["latent"], found["maps"], moving["kept"]) == (8, True, 8)
    assert moving["multiplicities"] == pytest.approx([2, 2, 2, 2])
    assert moving["r_squared"] == pytest.approx(1)
    assert still["multiplicities"] == pytest.approx([2, 0, 0, 0])
    with pytest.raises(ValueError, match="no point of a grid of shape"):
        points_of_an_orbit(group_by_name("D4"), (2, 2))
