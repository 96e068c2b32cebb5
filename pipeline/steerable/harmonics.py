"""Circular and spherical harmonics, real, and how orthogonal matrices act on them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def harmonics(degree: int, points: Real) -> Real:
    """Y_l at points [n, d] (their length does not matter): [2l + 1 or 2 or 1, n].

    d = 2: 1, or cos lθ and sin lθ. d = 3: orthonormal up to one factor, l ≤ 3. At the origin, where
    there is no direction, those of l ≥ 1 are 0.
    """
    lengths = np.linalg.norm(points, axis=1)
    away = lengths > 1e-9
    unit = np.where(away[:, None], points / np.where(away, lengths, 1.0)[:, None], 0.0)
    if degree == 0:
        return np.ones((1, len(points)))
    if points.shape[1] == 2:
        power = (unit[:, 0] + 1j * unit[:, 1]) ** degree
        return np.stack([power.real, power.imag])
    x, y, z = unit.T
    third, fifth = math.sqrt(3), math.sqrt(15)
    found = {
        1: [x, y, z],
        2: [third * x * y, third * y * z, (2 * z**2 - x**2 - y**2) / 2, third * x * z,
            third / 2 * (x**2 - y**2)],
        3: [math.sqrt(5 / 8) * y * (3 * x**2 - y**2), fifth * x * y * z,
            math.sqrt(3 / 8) * y * (4 * z**2 - x**2 - y**2),
            z * (2 * z**2 - 3 * x**2 - 3 * y**2) / 2,
            math.sqrt(3 / 8) * x * (4 * z**2 - x**2 - y**2), fifth / 2 * z * (x**2 - y**2),
            math.sqrt(5 / 8) * x * (x**2 - 3 * y**2)],
    }  # fmt: skip
    if degree not in found:
        raise ValueError(f"spherical harmonics of degree {degree}: there are those of 0 to 3")
    return np.stack(found[degree])


def harmonic_action(degree: int, g: Real) -> Real:
    """D(g), orthogonal, with Y(gx) = D(g) Y(x) for all x: by least squares over some points."""
    points, values = _sample(degree, len(g))
    moved = harmonics(degree, points @ g.T)
    return np.asarray(np.linalg.lstsq(values.T, moved.T, rcond=None)[0].T, np.float64)


@lru_cache(maxsize=64)
def _sample(degree: int, dimension: int) -> tuple[Real, Real]:
    points = np.random.default_rng(0).normal(size=(40, dimension))
    return points, harmonics(degree, points)
