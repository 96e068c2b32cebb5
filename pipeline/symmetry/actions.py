"""Exact actions of a group on the points of a grid (pixels, voxels), as index permutations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equigrid.symmetry.groups import FiniteGroup, Indices


def grid_action(group: FiniteGroup, shape: tuple[int, ...]) -> Indices:
    """The action (g·x)(p) = x(g⁻¹p) about the centre of a grid.

    shape: the grid's axes; in two dimensions (rows, columns), with x = column and y = −row, so
    that rotations are counter-clockwise as displayed; in three, the axes as they are.
    Returns [n, prod(shape)] gather indices over the flattened grid:
    (g·x).ravel() = x.ravel()[indices[g]].
    Raises ValueError where the group does not map grid points to grid points.
    """
    if group.matrices is None or group.matrices.shape[1] != len(shape):
        raise ValueError(f"group {group.name} has no action on a grid of shape {shape}")
    axes = np.indices(shape).reshape(len(shape), -1)
    # Doubled coordinates about the centre are integers for even and odd sizes alike.
    centred = 2 * axes - (np.array(shape) - 1)[:, None]
    to_coordinates = np.eye(len(shape))
    if len(shape) == 2:
        to_coordinates = np.array([[0.0, 1.0], [-1.0, 0.0]])
    inverse = np.swapaxes(group.matrices, 1, 2)
    sources = to_coordinates.T @ inverse @ to_coordinates @ centred
    positions = (sources + (np.array(shape) - 1)[:, None]) / 2
    rounded = np.round(positions).astype(np.int64)
    inside = (rounded >= 0) & (rounded < np.array(shape)[:, None])
    if not inside.all() or np.abs(positions - rounded).max() > 1e-9:
        raise ValueError(f"group {group.name} does not act exactly on a grid of shape {shape}")
    flat = [np.ravel_multi_index(tuple(points), shape) for points in rounded]
    return np.stack(flat).astype(np.int64)


def vector_action(group: FiniteGroup) -> NDArray[np.float64]:
    """How the vectors of a plane field turn when its grid moves by `grid_action`: [n, 2, 2].

    For components (x, y) on a grid whose rows go up with y, as simulations store fields. There
    `grid_action`, which takes rows to go down, turns the other way round: element 1 of C4 is
    clockwise, and takes (u_x, u_y) to (u_y, −u_x). A group that has `vectors` has its own.
    Raises ValueError where the group does not act on the plane.
    """
    if group.matrices is None or group.matrices.shape[1] != 2:
        raise ValueError(f"group {group.name} does not act on the plane")
    if group.vectors is not None:
        return group.vectors
    flip = np.diag([1.0, -1.0])
    return flip @ group.matrices @ flip + 0.0


def is_exact_on_grids(group: FiniteGroup) -> bool:
    """Whether every matrix is a signed permutation, so that cubes of pixels map to themselves."""
    return group.matrices is not None and bool(np.isin(group.matrices, (-1.0, 0.0, 1.0)).all())


def plane_group(group: FiniteGroup) -> FiniteGroup:
    """The group of the plane that moves a whole image: itself, or H of a product H × H.

    Raises ValueError where there is none.
    """
    if group.factors:
        first, second = group.factors
        if first.name != second.name:
            raise ValueError(f"{group.name} has no one group for the whole image")
        return plane_group(first)
    if group.matrices is None or group.matrices.shape[1] != 2:
        raise ValueError(f"{group.name} does not act on the plane; allowed: C_n, D_n")
    return group
