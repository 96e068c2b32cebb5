"""Steerable kernels: K(gx) = ρ_out(g) K(x) ρ_in(g)⁻¹, as a basis sampled on the pixels of a filter.

A kernel is a sum of shells (Gaussians of the radius) times harmonics times matrices. Which
combinations of harmonics and matrices are steerable is linear algebra: the vectors of
D_l ⊗ ρ_out ⊗ ρ_in that the generators leave as they are (Lang and Weiler, arXiv 2010.10952).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from equigrid.steerable.groups import SteeringGroup
from equigrid.steerable.harmonics import harmonic_action, harmonics

Real = NDArray[np.float64]
#: Widths of the Gaussians: at the centre, between, and on the outermost shell.
CENTRE, BETWEEN, OUTERMOST = 0.005, 0.6, 0.4


@dataclass(frozen=True)
class Shell:
    """A ring or sphere of a filter. degrees: the highest of the harmonics on it."""

    radius: int
    width: float
    degrees: int


def shells(size: int, dimension: int) -> list[Shell]:
    """Of a filter of `size` pixels a side; so few degrees that nothing aliases on the pixels."""
    found, last = [], size // 2
    for radius in range(last + 1):
        outermost = radius == last and radius > 0
        width = CENTRE if radius == 0 else OUTERMOST if outermost else BETWEEN
        if dimension == 3:
            most = min(2 * radius, last - radius + 2)
        elif radius == 0:
            most = 0
        elif outermost:
            most = min(2 * radius, 2)
        else:
            most = 2 * radius - (radius + 1) % 2
        found.append(Shell(radius, width, most))
    return found


def pixels(size: int, dimension: int) -> Real:
    """[size ** dimension, dimension]: x to the right, y up, and z to the back."""
    line = np.arange(size) - (size - 1) / 2
    grid = np.stack(np.meshgrid(*[line] * dimension, indexing="ij"), -1).reshape(-1, dimension)
    grid[:, -2] *= -1  # rows go down
    found: Real = grid[:, ::-1].copy()
    return found


@lru_cache(maxsize=64)
def sampled(size: int, dimension: int) -> dict[int, Real]:
    """Shell × harmonic by degree l: [shells with l, size of Y_l, pixels]."""
    points = pixels(size, dimension)
    radii = np.linalg.norm(points, axis=1)
    found: dict[int, list[Real]] = {}
    for shell in shells(size, dimension):
        ring = np.exp(-((radii - shell.radius) ** 2) / (2 * shell.width**2))
        for degree in range(shell.degrees + 1):
            found.setdefault(degree, []).append(ring * harmonics(degree, points))
    return {degree: np.stack(each) for degree, each in found.items()}


def tensor_action(group: SteeringGroup, degree: int, out: str, into: str, g: Real) -> Real:
    """D_l(g) ⊗ ρ_out(g) ⊗ ρ_in(g): how g moves the coefficients of a kernel."""
    rho = group.representations
    found: Real = np.kron(np.kron(harmonic_action(degree, g), rho[out](g)), rho[into](g))
    return found


def fixed_vectors(matrices: list[Real]) -> Real:
    """An orthonormal basis [n, size] of what all matrices leave as it is.

    The same basis on every machine: the projections of unit vectors, the longest rest first and of
    equal ones the first, by Gram and Schmidt.
    """
    size = len(matrices[0])
    departure = sum((m - np.eye(size)).T @ (m - np.eye(size)) for m in matrices)
    values, vectors = np.linalg.eigh(departure)
    null = vectors[:, values < 1e-9]
    return settled(null @ null.T)


def settled(rest: Real) -> Real:
    """The basis [n, size] of a projection's image [size, size] that fixed_vectors describes."""
    found: list[Real] = []
    for _ in range(round(float(np.trace(rest)))):
        lengths = np.diag(rest)
        first = int(np.argmax(lengths > lengths.max() - 1e-6))
        vector = rest[first] / np.sqrt(rest[first, first])
        found.append(vector)
        rest = rest - np.outer(vector, vector)
    return np.array(found).reshape(len(found), len(rest))


def regular_part(group: SteeringGroup, name: str) -> Real:
    """[order, d], orthonormal: where an irreducible lies in the regular representation, once.

    C with regular(g) C = C ρ(g); of an irreducible of real type that has several copies, the first.
    """
    size, rho = group.sizes[name], group.representations
    pairs = [
        np.asarray(np.kron(rho["regular"](g), rho[name](g)), np.float64) for g in group.generators
    ]
    found: Real = np.sqrt(size) * fixed_vectors(pairs)[0].reshape(-1, size)
    return found


@lru_cache(maxsize=4096)
def steerable_coefficients(group: SteeringGroup, degree: int, out: str, into: str) -> Real:
    """[n, size of Y_l, d_out, d_in]: coefficients of the steerable combinations of one degree."""
    actions = [tensor_action(group, degree, out, into, g) for g in group.generators]
    found, (d_out, d_in) = fixed_vectors(actions), (group.sizes[out], group.sizes[into])
    return found.reshape(len(found), found.shape[1] // (d_out * d_in), d_out, d_in)


@lru_cache(maxsize=1024)
def kernel_basis(group: SteeringGroup, out: str, into: str, size: int) -> Real:
    """[n, d_out, d_in, pixels]: each kernel of norm √d_out; n may be 0."""
    found = []
    for degree, samples in sampled(size, group.dimension).items():
        coefficients = steerable_coefficients(group, degree, out, into)
        for shell, vector in itertools.product(samples, coefficients):
            found.append(np.einsum("mp,moi->oip", shell, vector))
    rows = np.array(found).reshape(-1, group.sizes[out], group.sizes[into],
                                   size**group.dimension)  # fmt: skip
    norms = np.sqrt((rows**2).sum((1, 2, 3)) / group.sizes[out])
    kept: Real = (rows / np.maximum(norms, 1e-30)[:, None, None, None])[norms > 1e-9]
    return kept
