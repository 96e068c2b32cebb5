"""Harmonics, kernels and partial averages: as representation theory and as escnn have them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equigrid.steerable import (
    AntialiasedPool,
    Disc,
    FieldNorm,
    FieldType,
    Gate,
    Likelihood,
    PartialConvolution,
    ResidualPathway,
    SteerableConvolution,
    SteeringGroup,
    gated_type,
    kernel_basis,
    rotations_of_space,
    steering_group,
)
from equigrid.steerable.groups import turn
from equigrid.steerable.harmonics import harmonic_action, harmonics
from equigrid.steerable.kernels import fixed_vectors, regular_part
from equigrid.steerable.partial import spectrum
from equigrid.symmetry import cyclic, direct_product, group_by_name, octahedral

ORACLE = np.load(Path(__file__).parents[1] / "data" / "escnn.npz")


@pytest.fixture(autouse=True)
def _in_doubles() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def group(name: str) -> SteeringGroup:
    if name in ("SO(3)", "O(3)"):
        return rotations_of_space(name == "O(3)")
    return steering_group(group_by_name(name))


angles = st.floats(-3.2, 3.2)
axes = st.tuples(*[st.floats(0.1, 1.0)] * 3)


@given(axes, angles, axes, angles, st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_rotations_act_on_spherical_harmonics_by_orthogonal_matrices(
    first: Any, one: float, second: Any, two: float, degree: int
) -> None:
    g, h = turn(first, one), turn(second, two)
    d = harmonic_action(degree, g)
    np.testing.assert_allclose(d @ d.T, np.eye(2 * degree + 1), atol=1e-10)
    np.testing.assert_allclose(d @ harmonic_action(degree, h), harmonic_action(degree, g @ h),
                               atol=1e-10)  # fmt: skip
    points = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(harmonics(degree, points @ g.T), d @ harmonics(degree, points),
                               atol=1e-10)  # fmt: skip


@pytest.mark.parametrize("name", ["C4", "C6", "D1", "D2", "D3", "D4", "SO(3)", "O(3)"])
def test_representations_are_homomorphisms_and_irreducible(name: str) -> None:
    here = group(name)
    elements = [*here.generators]
    elements += [a @ b for a, b in itertools.product(elements, repeat=2)]
    for rho in here.representations.values():
        for g, h in itertools.product(elements, repeat=2):
            np.testing.assert_allclose(rho(g @ h), rho(g) @ rho(h), atol=1e-10)
    if here.elements is not None:
        # Σ d² over the real irreducibles, each over the size of what commutes with it, is |G|.
        total = 0.0
        for label in here.irreducibles:
            characters = np.array([np.trace(here.representations[label](g)) for g in here.elements])
            total += here.sizes[label] ** 2 / round(float((characters**2).mean()))
        assert total == len(here.elements)


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("C4", {1: 1, 3: 2, 5: 3, 7: 4}), ("D1", {1: 1, 3: 4, 5: 7, 7: 11}),
     ("D4", {3: 2, 5: 3, 7: 4}), ("SO(3)", {1: 1, 3: 2, 5: 3}), ("O(3)", {3: 2, 5: 3})],
)  # fmt: skip
def test_invariant_filters_are_counted(name: str, dimensions: dict[int, int]) -> None:
    for size, count in dimensions.items():
        assert len(kernel_basis(group(name), "trivial", "trivial", size)) == count


def test_equal_groups_are_one_so_that_bases_are_made_once() -> None:
    one = cyclic(4)
    other = direct_product(cyclic(4), cyclic(4))
    assert steering_group(one) is steering_group(other)
    first = kernel_basis(steering_group(one), "regular", "regular", 3)
    assert kernel_basis(steering_group(other), "regular", "regular", 3) is first
    with pytest.raises(ValueError, match="does not act on the plane"):
        steering_group(octahedral())
    with pytest.raises(ValueError, match="no one group for the whole image"):
        steering_group(direct_product(cyclic(4), cyclic(2)))


def test_regular_to_regular_has_24_kernels_not_36() -> None:
    """The band limits do that: the bare mean over the group has 36 on 3×3 pixels."""
    assert len(kernel_basis(group("C4"), "regular", "regular", 3)) == 24
    assert len(kernel_basis(group("C4"), "regular", "vector", 3)) == 12


def rotated(here: SteeringGroup, name: str, x: torch.Tensor, copies: int) -> torch.Tensor:
    """A field turned by 90 degrees."""
    fields = FieldType(here, (name,), copies)
    turned = x.rot90(1, (2, 3))
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    return torch.einsum("ij,bjhw->bihw", torch.from_numpy(fields.action(quarter)), turned)


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_every_convolution_commutes_with_a_turn_and_no_longer_with_one_sign_wrong(
    name: str,
) -> None:
    here = group(name)
    torch.manual_seed(0)
    for out, into in itertools.product(here.representations, repeat=2):
        for size in (3, 5):
            layer = SteerableConvolution(
                FieldType(here, (into,), 2), FieldType(here, (out,), 3), size, padding=size // 2
            )
            x = torch.randn(2, layer.into.channels, 8, 8)
            with torch.no_grad():
                there = rotated(here, out, layer(x), 3)
                torch.testing.assert_close(layer(rotated(here, into, x, 2)), there,
                                           atol=1e-12, rtol=0)  # fmt: skip
                if out == into == "degree 1":
                    layer.basis[0, layer.basis[0].abs().argmax()] *= -1
                    wrong = layer(rotated(here, into, x, 2)) - rotated(here, out, layer(x), 3)
                    assert wrong.abs().max() > 1e-3


def span(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis of the rows' span."""
    if not rows.size:
        return rows.reshape(0, rows.shape[-1])
    _, values, vectors = np.linalg.svd(rows, full_matrices=False)
    return vectors[values > 1e-8 * values[0]]


def between(name: str, label: str) -> np.ndarray:
    """Q with ours(g) Q = Q escnn(g): from its basis of an irreducible to ours."""
    elements, theirs = ORACLE[f"{name}/elements"], ORACLE[f"{name}/{label}"]
    ours = group(name).representations[label]
    pairs = [np.kron(ours(g), rho) for g, rho in zip(elements, theirs, strict=True)]
    q = fixed_vectors(pairs)[0].reshape(len(theirs[0]), -1)
    return q * np.sqrt(len(q))


@pytest.mark.parametrize(("name", "sizes"), [("C4", (3, 5)), ("D1", (3, 5)), ("D4", (3, 5)),
                                             ("SO(3)", (3,))])  # fmt: skip
def test_kernel_spaces_are_those_of_escnn(name: str, sizes: tuple[int, ...]) -> None:
    here, compared = group(name), 0
    labels = [it for it in here.irreducibles if f"{name}/{it}" in ORACLE]
    assert len(labels) >= 2
    for out, into, size in itertools.product(labels, labels, sizes):
        theirs = ORACLE[f"{name}/{out}/{into}/{size}"].astype(np.float64)
        ours = kernel_basis(here, out, into, size)
        assert len(ours) == len(theirs), (out, into, size)
        if not len(ours):
            continue
        flat = theirs.reshape(*theirs.shape[:3], -1)
        if name == "SO(3)":  # its third axis goes the other way
            back = theirs.reshape(*theirs.shape[:3], *[size] * 3)[:, :, :, ::-1]
            flat = back.reshape(*theirs.shape[:3], -1)
        moved = np.einsum("ab,nbcp,dc->nadp", between(name, out), flat, between(name, into))
        a = span(ours.reshape(len(ours), -1))
        b = span(moved.reshape(len(moved), -1))
        cosines = np.linalg.svd(a @ b.T, compute_uv=False)
        assert cosines.min() > 1 - 1e-5, (out, into, size, cosines)
        compared += 1
    assert compared > len(labels)


def test_layers_are_those_of_escnn() -> None:
    picture = torch.from_numpy(ORACLE["layers/picture"]).double()
    masked, pooled = Disc(11)(picture), AntialiasedPool(2, 2, 1)(picture)
    np.testing.assert_allclose(masked, ORACLE["layers/mask"], atol=1e-5)
    np.testing.assert_allclose(pooled, ORACLE["layers/pool"], atol=1e-5)
    here = group("C4")
    order = ["trivial", "degree 1", "cosine 2"]
    norm = FieldNorm(FieldType(here, tuple(order), 2))
    # Theirs lie field by field, ours component by component.
    fields = torch.from_numpy(ORACLE["layers/fields"]).double()
    ours = fields.view(3, 2, 4, 6, 6).transpose(1, 2).flatten(1, 2)
    normed = norm(ours).view(3, 4, 2, 6, 6).transpose(1, 2).flatten(1, 2)
    np.testing.assert_allclose(normed.detach(), ORACLE["layers/norm"], atol=1e-5)


def test_gates_multiply_whole_irreducibles() -> None:
    here = group("C4")
    names = here.irreducibles
    gate = Gate(here, 2, names)
    x = torch.randn(3, gated_type(here, 2, names).channels, 4, 4)
    fields, found = x.view(3, 7, 2, 4, 4), gate(x).view(3, 4, 2, 4, 4)
    gates = torch.sigmoid(fields[:, 1:4] - gate.bias[None, ..., None, None])
    for component, (at, kind) in enumerate([(0, 0), (4, 1), (5, 1), (6, 2)]):
        torch.testing.assert_close(found[:, component], fields[:, at] * gates[:, kind])


def test_a_regular_representation_holds_each_irreducible() -> None:
    here = group("D4")
    for name in here.irreducibles:
        part = regular_part(here, name)
        np.testing.assert_allclose(part.T @ part, np.eye(here.sizes[name]), atol=1e-10)
        for g in here.generators:
            rho, regular = here.representations[name](g), here.representations["regular"](g)
            np.testing.assert_allclose(regular @ part, part @ rho, atol=1e-10)


def partial(name: str, **more: Any) -> PartialConvolution:
    here = group(name)
    into, out = (FieldType(here, tuple(here.irreducibles[:3]), 1) for _ in range(2))
    return PartialConvolution(into, out, 3, Likelihood(here), bias=False, **more)


@pytest.mark.parametrize("name", ["C4", "D1", "D4", "SO(3)"])
def test_a_uniform_likelihood_leaves_exactly_the_steerable_filters(name: str) -> None:
    layer = partial(name)
    steerable = SteerableConvolution(layer.into, layer.out, 3, bias=False)
    want = span(steerable.basis.numpy())
    filters = []
    for _ in range(len(want) + 3):
        layer.weights.data.normal_()
        d, side = layer.out.components, 3**layer.into.group.dimension
        filters.append(layer.filter().detach().reshape(d * d * side).numpy())
    have = span(np.array(filters))
    assert len(have) == len(want)
    assert np.linalg.svd(have @ want.T, compute_uv=False).min() > 1 - 1e-10


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_a_likelihood_at_the_identity_leaves_every_filter_of_the_band(name: str) -> None:
    layer = partial(name)
    layer.likelihood.logits.data = (
        200.0 * layer.likelihood.identity / len(layer.likelihood.identity)
    )
    assert layer.likelihood.at_points()[0] > len(layer.likelihood.weights) * (1 - 1e-9)
    count = layer.weights.shape[2]
    filters = []
    for n in range(count):
        layer.weights.data.zero_()
        layer.weights.data[0, 0, n] = 1.0
        filters.append(layer.filter().detach().flatten().numpy())
    assert len(span(np.array(filters))) == count == 6 * layer.into.components**2


def test_penalties_of_a_likelihood_are_those_worked_out_by_hand() -> None:
    """C2: logits a ± b; C4 with the one coefficient of cos: a + √2 b cos."""
    two = Likelihood(group("C2"))
    two.logits.data = torch.tensor([1.0, 0.5])
    p = np.exp([0.5, -0.5]) / np.exp([0.5, -0.5]).sum()
    assert float(two.divergence(None)) == pytest.approx(float((p * np.log(2 * p)).sum()))
    assert float(two.misalignment()) == pytest.approx(0.0, abs=1e-12)
    two.logits.data = torch.tensor([1.0, -0.5])
    assert float(two.misalignment()) == pytest.approx(1.0)
    four, other = Likelihood(group("C4")), Likelihood(group("C4"))
    known = spectrum(group("C4"))
    np.testing.assert_allclose(known.values.T @ known.values / 4, np.eye(4), atol=1e-12)
    cosine = int(
        np.abs(known.values - np.sqrt(2) * np.array([[1.0], [0], [-1], [0]])).sum(0).argmin()
    )
    four.logits.data = torch.zeros(4)
    four.logits.data[cosine] = 0.3
    heights = 0.3 * np.sqrt(2) * np.array([1, 0, -1, 0])
    p = np.exp(heights) / np.exp(heights).sum()
    assert float(four.divergence(None)) == pytest.approx(float((p * np.log(4 * p)).sum()))
    other.logits.data[cosine] = -0.2
    q = np.exp(-0.2 / 0.3 * heights)
    q /= q.sum()
    assert float(four.divergence(other)) == pytest.approx(float((p * np.log(p / q)).sum()))
    four.divergence(other).backward()
    assert other.logits.grad is None  # the layer before is held


def test_gradients_of_filters_are_those_of_finite_differences() -> None:
    layer = partial("C4", repeated_columns=True)
    layer.likelihood.logits.data.normal_()

    def filters(weights: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        for name, value in {"weights": weights, "logits": logits}.items():
            owner = layer if name == "weights" else layer.likelihood
            owner._parameters[name] = value  # type: ignore[assignment]
        return layer.filter()

    given_ = [it.detach().clone().requires_grad_() for it in
              (layer.weights, layer.likelihood.logits)]  # fmt: skip
    assert torch.autograd.gradcheck(filters, given_)
    assert torch.autograd.gradcheck(lambda *its: Likelihoods(its).total(), given_[1:])


class Likelihoods:
    """The penalties as a function of logits."""

    def __init__(self, logits: tuple[torch.Tensor, ...]) -> None:
        self.made = Likelihood(group("C4"))
        self.made._parameters["logits"] = logits[0]  # type: ignore[assignment]

    def total(self) -> torch.Tensor:
        return self.made.misalignment() + self.made.divergence(None)


def test_a_filter_is_kept_in_evaluation_until_a_weight_changes() -> None:
    layer = partial("C4").eval()
    with torch.inference_mode(False), torch.no_grad():
        first = layer.expanded()[0]
        assert layer.expanded()[0] is first
        layer.weights.mul_(2)
        torch.testing.assert_close(layer.expanded()[0], 2 * first)
        layer.likelihood.logits.add_(1.0 * torch.arange(len(layer.likelihood.logits)))
        assert not torch.equal(layer.expanded()[0], 2 * first)


def test_a_residual_pathway_without_its_free_part_is_the_steerable_convolution() -> None:
    here = group("D4")
    names = tuple(here.irreducibles)
    layer = ResidualPathway(FieldType(here, names, 2), FieldType(here, names, 3), 3, padding=1)
    layer.free.weight.data.zero_()
    assert layer.free.bias is not None
    layer.free.bias.data.zero_()
    x = torch.randn(2, layer.into.channels, 6, 6)
    want = layer.steerable
    want.padding = 1
    torch.testing.assert_close(layer(x), want(x))
