"""Convolutions that learn how equivariant they are (Veefkind and Cesa, arXiv 2406.03946).

A steerable filter is the mean over the group of the moved free filter Θ. With a likelihood λ on the
group it is a weighted mean, ∫ λ(h) ρ_out(h) Θ(h⁻¹ ·) ρ_in(h)⁻¹ dh: λ uniform leaves what is
steerable, λ at the identity alone leaves Θ.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equigrid.steerable.groups import SteeringGroup, turn
from equigrid.steerable.harmonics import harmonic_action
from equigrid.steerable.kernels import sampled, settled
from equigrid.steerable.layers import Expanding, FieldType, constant, drawn

Real = NDArray[np.float64]
#: Of a continuous group: the highest degree of a likelihood's Fourier coefficients.
BAND = 2
#: The highest degree on a shell.
SHELL = 3


@dataclass(frozen=True)
class Spectrum:
    """Functions on a group by their Fourier coefficients.

    points: [n, d, d] elements, with weights [n] that add up to 1: all of a finite group, else a
    quadrature. values: [n, c] there of the orthonormal functions √d_j ρ_j(h)_ab, the constant one
    first; functions: their irreducible, a, b and factor.
    """

    group: SteeringGroup
    points: Real
    weights: Real
    values: Real
    functions: tuple[tuple[str, int, int, float], ...]

    def at(self, points: Real) -> Real:
        """[n, c] of the functions at any elements [n, d, d]."""
        rho = self.group.representations
        rows = [[scale * rho[name](g)[a, b] for name, a, b, scale in self.functions]
                for g in points]  # fmt: skip
        return np.array(rows)


@lru_cache(maxsize=16)
def spectrum(group: SteeringGroup) -> Spectrum:
    points, weights = _points(group)
    finite = group.elements is not None
    columns, functions = [], []
    for name in group.irreducibles:
        size, rho = group.sizes[name], group.representations[name]
        if not finite and size > 2 * BAND + 1:
            continue
        values = np.array([rho(g) for g in points])
        # Of an irreducible of complex type (a turn by 90 degrees) one column says it all.
        complex_type = finite and bool((np.trace(values, axis1=1, axis2=2) ** 2).mean() > 1.5)
        for b, a in itertools.product(range(1 if complex_type else size), range(size)):
            scale = 1 / math.sqrt(float(weights @ values[:, a, b] ** 2))
            columns.append(scale * values[:, a, b])
            functions.append((name, a, b, scale))
    return Spectrum(group, points, weights, np.array(columns).T, tuple(functions))


def _points(group: SteeringGroup) -> tuple[Real, Real]:
    """All elements of a finite group; of SO(3) and O(3) a product of Euler's angles."""
    if group.elements is not None:
        return group.elements, np.full(len(group.elements), 1 / len(group.elements))
    # Exact for a likelihood times a shell's, an input's and an output's representation.
    exact = BAND + SHELL + 2 * ((max(group.sizes.values()) - 1) // 2)
    angles = 2 * math.pi * np.arange(exact + 1) / (exact + 1)
    heights, heavy = np.polynomial.legendre.leggauss((exact + 2) // 2)
    about = [turn((0, 0, 1), angle) for angle in angles]
    points, weights = [], []
    for height, weight in zip(heights, heavy, strict=True):
        down = turn((0, 1, 0), math.acos(height))
        points += [first @ down @ last for first, last in itertools.product(about, about)]
        weights += [weight / 2 / len(angles) ** 2] * len(angles) ** 2
    if any(np.linalg.det(g) < 0 for g in group.generators):
        points, weights = points + [-g for g in points], [w / 2 for w in weights * 2]
    return np.array(points), np.array(weights)


@lru_cache(maxsize=256)
def _action(group: SteeringGroup, names: tuple[str, ...] | int) -> Real:
    """[n, size, size] at the spectrum's points: of a sum of representations, or of harmonics."""
    points = spectrum(group).points
    if isinstance(names, int):
        return np.array([harmonic_action(names, g) for g in points])
    return np.array([group.summed(names, g) for g in points])


def integrals(
    group: SteeringGroup, degree: int, out: tuple[str, ...], into: tuple[str, ...]
) -> Real:
    """[c, D, D], ∫ f_c(h) D_l(h) ⊗ ρ_out(h) ⊗ ρ_in(h) dh for each function of the spectrum."""
    known = spectrum(group)
    y, a, b = (_action(group, it) for it in (degree, out, into))
    n, sizes = len(y), (y.shape[1], a.shape[1], b.shape[1])
    left = np.einsum("n,nc,nij->cijn", known.weights, known.values, y).reshape(-1, n)
    right = np.einsum("nij,nkl->nijkl", a, b).reshape(n, -1)
    full = (left @ right).reshape(-1, sizes[0], sizes[0], sizes[1], sizes[1], sizes[2], sizes[2])
    found: Real = full.transpose(0, 1, 3, 5, 2, 4, 6)
    return found.reshape(len(found), math.prod(sizes), math.prod(sizes))


@lru_cache(maxsize=1024)
def moved_basis(
    group: SteeringGroup, degree: int, out: tuple[str, ...], into: tuple[str, ...]
) -> tuple[Real, Real]:
    """Θ's coefficients of one degree: a basis [n, D], and [c, n, D] what the integrals make of it.

    All of D_l ⊗ ρ_out ⊗ ρ_in of a finite group; of a continuous one what is of degree BAND at most,
    since no likelihood reaches the rest.
    """
    found = integrals(group, degree, out, into)
    if group.elements is not None:
        return np.eye(found.shape[1]), found.transpose(0, 2, 1)
    projection, at = np.zeros(found.shape[1:]), 0
    for size in (group.sizes[name] for name in group.irreducibles):
        if size <= 2 * BAND + 1:
            diagonal = at + np.arange(size) * (size + 1)
            projection += math.sqrt(size) * found[diagonal].sum(0)
            at += size * size
    basis = settled((projection + projection.T) / 2)
    return basis, np.einsum("nx,cyx->cny", basis, found)


def _heights(samples: Real, basis: Real, d_out: Real, d_in: int) -> Real:
    """[rings, n]: what gives each basis function the norm √d_out, like a steerable kernel.

    d_out: [out components], the size of the irreducible that each belongs to.
    """
    n, harmonics = len(basis), samples.shape[1]
    vectors = basis.reshape(n, harmonics, len(d_out), d_in)
    overlaps = np.einsum("rmp,rkp->rmk", samples, samples)
    squares = np.einsum("nmoi,rmk,nkoi->rn", vectors, overlaps, vectors, optimize=True)
    wanted = np.einsum("nmoi,o->n", vectors**2, d_out)
    found: Real = np.sqrt(wanted / squares)
    return found


def seen_elements(group: SteeringGroup) -> tuple[Real, list[float], list[bool]]:
    """Elements worth showing, their angles in degrees, and whether they mirror.

    All of a finite group; of a continuous one turns about one axis by 0 to 180 degrees, and of O(3)
    these times −1.
    """
    if group.elements is not None:
        mirrored = [bool(np.linalg.det(g) < 0) for g in group.elements]
        angles = [math.degrees(math.atan2(g[1, 0], g[0, 0])) % 360 for g in group.elements]
        return group.elements, [round(angle, 1) for angle in angles], mirrored
    angles = [15.0 * n for n in range(13)]
    turns = [turn((0, 0, 1), math.radians(angle)) for angle in angles]
    if any(np.linalg.det(g) < 0 for g in group.generators):
        return np.array(turns + [-g for g in turns]), angles * 2, [False] * 13 + [True] * 13
    return np.array(turns), angles, [False] * 13


class Likelihood(nn.Module):
    """λ on a group, mean 1: the softmax of logits that are Fourier coefficients [c]; uniform first.

    Shared by the convolutions of a block and of its skip.
    """

    def __init__(self, group: SteeringGroup) -> None:
        super().__init__()
        known = spectrum(group)
        self.logits = nn.Parameter(torch.zeros(known.values.shape[1]))
        self.logits.data[0] = 1.0
        self.group = group
        identity = known.at(np.eye(group.dimension)[None])[0]
        constants = {"weights": known.weights, "values": known.values, "identity": identity}
        for name, array in constants.items():
            self.register_buffer(name, constant(array), persistent=False)
        self.weights: Tensor
        self.values: Tensor
        self.identity: Tensor

    def at_points(self) -> Tensor:
        """[n], with weighted mean 1."""
        heights = self.values @ self.logits
        return torch.exp(heights - torch.logsumexp(heights + self.weights.log(), 0))

    def at_elements(self, elements: Real, logits: Tensor) -> Real:
        """[n], λ at any elements [n, d, d] for given logits [c]."""
        known, given = spectrum(self.group), logits.double().numpy()
        heights = known.values @ given
        level = np.log((known.weights * np.exp(heights - heights.max())).sum()) + heights.max()
        found: Real = np.exp(known.at(elements) @ given - level)
        return found

    def coefficients(self) -> Tensor:
        """[c] of λ itself; the higher ones of a continuous group's are dropped."""
        return self.values.T @ (self.weights * self.at_points())

    def misalignment(self) -> Tensor:
        """How far the identity is from being the likeliest element, in logits; at least 0."""
        heights, there = self.values @ self.logits, self.identity @ self.logits
        return torch.maximum(heights.max(), there) - there

    def divergence(self, other: Likelihood | None) -> Tensor:
        """KL(λ ‖ other), other held constant; None is the uniform one."""
        here = self.at_points()
        logs = here.clamp_min(1e-30).log()
        if other is not None:
            logs = logs - other.at_points().detach().clamp_min(1e-30).log()
        return (self.weights * here * logs).sum()


class PartialConvolution(Expanding):
    """A convolution with free weights Θ, averaged over the group by a likelihood.

    repeated_columns: each weight is there once for every kind of irreducible in ρ_in ⊗ ρ_out. The
    functions are the same, their count and the length of a step are not.
    """

    def __init__(
        self, into: FieldType, out: FieldType, size: int, likelihood: Likelihood, *,
        stride: int = 1, padding: int = 0, bias: bool = True, repeated_columns: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(into, out, size, stride, padding, bias)
        self.of = (likelihood,)  # in a tuple: several may share it, and its owner is the model
        group = into.group
        samples = sampled(size, group.dimension)
        self.degrees = [(degree, *each.shape[:2]) for degree, each in samples.items()]
        flat = np.concatenate([each.reshape(-1, each.shape[2]) for each in samples.values()])
        self._constant("samples", flat)
        self.samples: Tensor
        # Of a finite group all of a field at once: few large products. Of SO(3) and O(3) pair by
        # pair: the integrals of whole fields are too large.
        whole = group.elements is not None
        self.rows = [out.names] if whole else [(name,) for name in out.names]
        self.columns = [into.names] if whole else [(name,) for name in into.names]
        owner: list[tuple[int, int]] = []
        for o, outs in enumerate(self.rows):
            for i, ins in enumerate(self.columns):
                d_out = np.concatenate([[group.sizes[n]] * group.sizes[n] for n in outs])
                d_in = sum(group.sizes[n] for n in ins)
                a, b = ([place for place, n in enumerate(it) for _ in range(group.sizes[n])]
                        for it in (outs, ins))  # fmt: skip
                for degree, each in samples.items():
                    basis, moved = moved_basis(group, degree, outs, ins)
                    self._constant(f"moved_{degree}_{o}_{i}", moved)
                    heights = _heights(each, basis, d_out.astype(float), d_in)
                    self._constant(f"heights_{degree}_{o}_{i}", heights)
                    if whole:
                        pairs = [(x, y) for _ in range(each.shape[1]) for x in a for y in b]
                    else:
                        pairs = [(o, i)] * len(basis)
                    owner += pairs * len(each)
        self._own_weights(owner, repeated_columns)

    def _own_weights(self, owner: list[tuple[int, int]], repeated: bool) -> None:
        """owner: the pair (place of ρ_out, place of ρ_in) of each column."""
        into, out = self.into, self.out
        copies = {
            (o, i): kinds_in_product(into.group, a, b) if repeated else 1
            for o, a in enumerate(out.names)
            for i, b in enumerate(into.names)
        }
        order = [n for pair in copies for n in range(len(owner)) if owner[n] == pair
                 for _ in range(copies[pair])]  # fmt: skip
        counts = {pair: copies[pair] * owner.count(pair) for pair in copies}
        self.register_buffer("column", torch.tensor(order), persistent=False)
        self.column: Tensor
        self.count = len(owner)
        self.weights = nn.Parameter(drawn(into, out, counts))

    @property
    def likelihood(self) -> Likelihood:
        return self.of[0]

    def sources(self) -> list[Tensor]:
        return [*self.parameters(), *self.likelihood.parameters()]

    def _constant(self, name: str, array: Real) -> None:
        self.register_buffer(name, constant(array), persistent=False)

    def filter(self) -> Tensor:
        n_out, n_in, _ = self.weights.shape
        flat = self.weights.flatten(0, 1)
        once = flat.new_zeros(len(flat), self.count).index_add(1, self.column, flat)
        averaged = self.likelihood.coefficients()
        rows, at = [], 0
        for o, outs in enumerate(self.rows):
            row = []
            for i, ins in enumerate(self.columns):
                d_out = sum(self.into.group.sizes[name] for name in outs)
                d_in = sum(self.into.group.sizes[name] for name in ins)
                found = []
                for degree, rings, size in self.degrees:
                    heights = self.get_buffer(f"heights_{degree}_{o}_{i}")
                    moved = self.get_buffer(f"moved_{degree}_{o}_{i}")
                    theta = once[:, at : at + heights.numel()].view(len(once), *heights.shape)
                    turned = (theta * heights) @ torch.tensordot(averaged, moved, 1)
                    found.append(turned.view(len(once), rings * size, d_out * d_in))
                    at += heights.numel()
                pixels = torch.cat(found, 1).transpose(1, 2) @ self.samples
                part = pixels.view(n_out, n_in, d_out, d_in, -1)
                row.append(part.permute(2, 0, 3, 1, 4))
            rows.append(torch.cat(row, 2) if len(row) > 1 else row[0])
        return self.shaped(torch.cat(rows, 0) if len(rows) > 1 else rows[0])


@lru_cache(maxsize=1024)
def kinds_in_product(group: SteeringGroup, first: str, second: str) -> int:
    """How many different irreducibles ρ_first ⊗ ρ_second has; of O(3) 1: it repeats no column."""
    if group.elements is None:
        mirrored = any(np.linalg.det(g) < 0 for g in group.generators)
        return 1 if mirrored else min(group.sizes[first], group.sizes[second])

    def character(name: str) -> Real:
        found: Real = np.trace(_action(group, (name,)), axis1=1, axis2=2)
        return found

    product = character(first) * character(second)
    return sum(abs(float((product * character(it)).mean())) > 0.1 for it in group.irreducibles)
