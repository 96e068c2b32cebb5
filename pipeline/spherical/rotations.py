"""Rotations of space, and how they act on spherical-harmonic coefficients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.spherical.harmonics import Grid, degree_of, harmonics

Floats = NDArray[np.float64]


def random_rotations(count: int, stream: np.random.Generator) -> Floats:
    """[count, 3, 3] rotations, uniform over SO(3): those of normally distributed quaternions."""
    w, x, y, z = (q := stream.normal(size=(count, 4))).T / np.linalg.norm(q, axis=1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def wigner(rotations: Floats, degree: int) -> list[Floats]:
    """For each l ≤ L the matrices Dˡ(R) [..., 2l + 1, 2l + 1], with Y(R n) = D(R) Y(n).

    Dˡ(R) = ∫ Y(R n) Y(n)ᵀ dn, exact on a grid of bandwidth L + 1.
    """
    grid = Grid(degree + 1)
    points = grid.points.reshape(-1, 3)
    moved = harmonics(points @ np.swapaxes(rotations, -1, -2), degree)
    weighted = grid.analysis(degree).T
    found = []
    for each in range(degree + 1):
        part = slice(each**2, (each + 1) ** 2)
        found.append(np.swapaxes(moved[..., part], -1, -2) @ weighted[:, part])
    return found


def rotate(coefficients: Tensor, rotations: Floats) -> Tensor:
    """Coefficients [n, …, (L + 1)²] of functions f → those of f(R⁻¹ ·), R [n, 3, 3]."""
    degree = degree_of(coefficients.shape[-1])
    sizes = [2 * each + 1 for each in range(degree + 1)]
    parts = []
    for part, matrices in zip(
        torch.split(coefficients, sizes, -1), wigner(rotations, degree), strict=True
    ):
        matrix = torch.from_numpy(matrices).to(part)
        parts.append(torch.einsum("nij,n...j->n...i", matrix, part))
    return torch.cat(parts, -1)
