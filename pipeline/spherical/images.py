"""Flat images projected onto the sphere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.spherical.harmonics import Grid, harmonics

Floats = NDArray[np.float64]

#: The eye, on the axis of a sphere of radius 1 around (0, 0, 1); the image covers [−REACH, REACH]².
EYE, REACH = 2.001, 1.5


def on_plane(points: Floats) -> Floats:
    """Unit vectors [..., 3] → where the eye sees them on the plane z = 0, [..., 2].

    Of a unit sphere that lies on the plane, seen from just above its north pole: a stereographic
    projection but for a thousandth, so that the pole too lies somewhere.
    """
    height = points[..., 2] + 1
    found: Floats = points[..., :2] * (EYE / (EYE - height))[..., None]
    return found


def on_sphere(
    images: NDArray[Any], grid: Grid, rotations: Floats | None = None
) -> NDArray[np.float32]:
    """Images [n, side, side] → their values on the grid's points [n, 4b²], each from 0 to 1.

    Bilinear between pixels, 0 beside the image. rotations: [n, 3, 3], by which each is turned on
    the sphere.
    """
    side = images.shape[1]
    points = grid.points.reshape(1, -1, 3)
    # The value of f(R⁻¹ ·) at n is that of f at Rᵀ n.
    seen = on_plane(points if rotations is None else points @ rotations)
    # Axes as in a picture: columns along x, rows against y. Between the centres of pixels.
    column = (seen[..., 0] + REACH) * (side / (2 * REACH)) - 0.5
    row = (REACH - seen[..., 1]) * (side / (2 * REACH)) - 0.5
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1))).astype(np.float32)
    flat = padded.reshape(len(images), -1)
    inside = (column > -1) & (column < side) & (row > -1) & (row < side)
    column, row = np.where(inside, column, -1.0), np.where(inside, row, -1.0)
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    across, down = (column - left).astype(np.float32), (row - top).astype(np.float32)
    corner = (top + 1) * (side + 2) + left + 1
    across, down, corner = np.broadcast_arrays(
        *(np.broadcast_to(it, (len(images), it.shape[1])) for it in (across, down, corner))
    )
    at = [
        np.take_along_axis(flat, np.minimum(corner + offset, flat.shape[1] - 1), 1)
        for offset in (0, 1, side + 2, side + 3)
    ]
    above = at[0] + across * (at[1] - at[0])
    below = at[2] + across * (at[3] - at[2])
    values = above + down * (below - above)
    lowest = values.min(1, keepdims=True)
    spread = values.max(1, keepdims=True) - lowest
    found: NDArray[np.float32] = (values - lowest) / np.where(spread > 0, spread, 1)
    return found


def disc(side: int, degree: int) -> tuple[Tensor, Tensor]:
    """How to see a whole sphere: [side², (L + 1)²] harmonics at a disc's pixels; which lie on it.

    Lambert's azimuthal projection, equal in area, the south pole in the middle. Beside the disc 0.
    """
    ticks = (np.arange(side) + 0.5) * (2 / side) - 1
    x, y = np.meshgrid(ticks, -ticks)
    radius = x**2 + y**2
    inside = radius <= 1
    radius = np.minimum(radius, 1)
    height = 2 * radius - 1  # −1 at the south pole
    stretch = 2 * np.sqrt(1 - radius)
    points = np.stack([x * stretch, y * stretch, height], -1)
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    values = harmonics(points.reshape(-1, 3), degree) * inside.reshape(-1, 1)
    return torch.from_numpy(values).float(), torch.from_numpy(inside.reshape(-1))
