"""A function on the sphere as spherical-harmonic coefficients, and back.

Coefficients are those of the real orthonormal harmonics (e3nn's, in its order of components): of
degree l the 2l + 1 entries from l² on, together (L + 1)². A frame of axes belongs to them: degree 1
are the coordinates x, y, z of a vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def size_of(degree: int) -> int:
    """Coefficients up to a degree L: (L + 1)²."""
    return (degree + 1) ** 2


def degree_of(size: int) -> int:
    """The degree of so many coefficients; ValueError where there is none."""
    degree = math.isqrt(size) - 1
    if degree < 0 or size_of(degree) != size:
        raise ValueError(f"{size} coefficients: expected (L + 1)² of them")
    return degree


def harmonics(points: Floats, degree: int) -> Floats:
    """[..., 3] unit vectors → [..., (L + 1)²] values of the real orthonormal harmonics."""
    from e3nn import o3  # it takes a second to import

    found = o3.spherical_harmonics(
        list(range(degree + 1)), torch.from_numpy(points), normalize=False,
        normalization="integral",
    )  # fmt: skip
    values: Floats = found.numpy()
    return values


@dataclass(frozen=True)
class Grid:
    """The Driscoll–Healy grid: 2b polar angles βⱼ = πj/2b by 2b azimuths αₖ = πk/b.

    Exact for products of harmonics whose degrees together are below 2b.
    """

    bandwidth: int

    @property
    def shape(self) -> tuple[int, int]:
        return 2 * self.bandwidth, 2 * self.bandwidth

    @cached_property
    def points(self) -> Floats:
        """[2b, 2b, 3] unit vectors x, y, z; the poles are on the z axis."""
        b = self.bandwidth
        polar = (np.pi * np.arange(2 * b) / (2 * b))[:, None]
        azimuth = (np.pi * np.arange(2 * b) / b)[None]
        found: Floats = np.stack(
            np.broadcast_arrays(
                np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)
            ),
            -1,
        )
        return found

    @cached_property
    def weights(self) -> Floats:
        """[2b]: by which a sample of a polar angle counts in an integral over the sphere."""
        b = self.bandwidth
        polar = np.pi * np.arange(2 * b) / (2 * b)
        odd = 2 * np.arange(b) + 1
        sums = (np.sin(odd * polar[:, None]) / odd).sum(1)
        found: Floats = (2 / b) * np.sin(polar) * sums * (2 * np.pi / (2 * b))
        return found

    def analysis(self, degree: int) -> Floats:
        """[(L + 1)², 4b²]: takes the samples of a function, row by row, to its coefficients."""
        values = self.synthesis(degree) * np.repeat(self.weights, 2 * self.bandwidth)[:, None]
        return np.ascontiguousarray(values.T)

    def synthesis(self, degree: int) -> Floats:
        """[4b², (L + 1)²]: takes coefficients to the function's values on the grid."""
        return harmonics(self.points.reshape(-1, 3), degree)


def power_spectrum(coefficients: Tensor) -> Tensor:
    """[..., (L + 1)²] → [..., L + 1]: the mean square of each degree's components."""
    degree = degree_of(coefficients.shape[-1])
    sizes = [2 * each + 1 for each in range(degree + 1)]
    parts = torch.split(coefficients, sizes, -1)
    return torch.stack([it.square().mean(-1) for it in parts], -1)
