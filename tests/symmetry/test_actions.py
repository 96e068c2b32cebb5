"""Exact actions on grids: index permutations that compose like the group."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from equigrid.symmetry import (
    FiniteGroup,
    cyclic,
    dihedral,
    grid_action,
    group_by_name,
    is_exact_on_grids,
    vector_action,
)

EXACT = ["C1", "C2", "C4", "D1", "D2", "D4"]
exact_groups = st.sampled_from(EXACT).map(group_by_name)


@given(exact_groups, st.integers(1, 9), st.data())
def test_grid_actions_are_permutations_that_compose_like_the_group(group, side, data):
    """(gh)·x = g·(h·x), on grids of odd and even size alike."""
    indices = grid_action(group, (side, side))
    assert (np.sort(indices, axis=1) == np.arange(side**2)).all()
    g, h = (data.draw(st.integers(0, group.order - 1)) for _ in range(2))
    x = np.arange(side**2)
    np.testing.assert_array_equal(x[indices[h]][indices[g]], x[indices[group.table[g, h]]])


@pytest.mark.parametrize("side", [5, 8])
@pytest.mark.parametrize("name", EXACT)
def test_elements_are_numpys_flips_and_quarter_turns(name, side):
    """Flip left–right first, then rotate counter-clockwise as displayed."""
    group = group_by_name(name)
    indices = grid_action(group, (side, side))
    x = np.random.default_rng(0).normal(size=(side, side))
    rotations = int(name[1:])
    for element in range(group.order):
        flip, k = divmod(element, rotations)
        turned = np.rot90(np.fliplr(x) if flip else x, k * 4 // rotations)
        np.testing.assert_array_equal(x.ravel()[indices[element]].reshape(side, side), turned)


def test_half_turns_and_flips_act_on_oblong_grids():
    x = np.arange(12).reshape(3, 4)
    indices = grid_action(dihedral(2), x.shape)
    np.testing.assert_array_equal(x.ravel()[indices[1]].reshape(3, 4), x[::-1, ::-1])
    np.testing.assert_array_equal(x.ravel()[indices[2]].reshape(3, 4), x[:, ::-1])


def test_a_group_of_three_dimensional_matrices_acts_on_volumes():
    """Axes as they are: a quarter turn takes the first axis towards the second."""
    matrices = np.zeros((4, 3, 3))
    matrices[:, :2, :2] = cyclic(4).matrices
    matrices[:, 2, 2] = 1
    group = FiniteGroup("quarter turns", cyclic(4).table, (1,), matrices)
    x = np.random.default_rng(0).normal(size=(4, 4, 3))
    indices = grid_action(group, x.shape)
    for k in range(4):
        turned = np.rot90(x, k, axes=(0, 1))
        np.testing.assert_array_equal(x.ravel()[indices[k]].reshape(x.shape), turned)


@pytest.mark.parametrize("side", [3, 4])
def test_the_rotations_of_the_cube_permute_voxels_and_compose(side):
    """(AB)·x = A·(B·x) for all 576 pairs; each element moves voxels as SciPy rotates them."""
    group = group_by_name("octahedral")
    indices = grid_action(group, (side,) * 3)
    assert (np.sort(indices, axis=1) == np.arange(side**3)).all()
    x = np.random.default_rng(0).normal(size=side**3)
    moved = x[indices]  # [B, voxels]
    for a in range(24):
        np.testing.assert_array_equal(moved[:, indices[a]], moved[group.table[a]])
    centre = np.full(3, (side - 1) / 2)
    for element, matrix in enumerate(group.matrices):
        back = matrix.T
        expected = ndimage.affine_transform(
            x.reshape((side,) * 3), back, centre - back @ centre, order=0, mode="nearest"
        )
        np.testing.assert_array_equal(moved[element].reshape((side,) * 3), expected)


def test_vectors_turn_with_their_grid():
    """With rows going up with y, rot90 takes (u_x, u_y) to (u_y, −u_x): experiments, SMOKE."""
    vectors = vector_action(cyclic(4))
    np.testing.assert_array_equal(vectors[1] @ [2, 3], [3, -2])
    np.testing.assert_array_equal(vectors[2] @ [2, 3], [-2, -3])
    np.testing.assert_array_equal(vectors[3] @ [2, 3], [-3, 2])


@pytest.mark.parametrize("name", EXACT)
def test_vectors_point_where_their_grid_moves_them(name):
    """An arrow from a cell to another points, once moved, from the moved cell to the other."""
    group, side = group_by_name(name), 4
    indices, vectors = grid_action(group, (side, side)), vector_action(group)
    places = np.stack(np.unravel_index(np.arange(side**2), (side, side)))[::-1]  # (x, y) = (c, r)
    for element in range(group.order):
        arrived = np.argsort(indices[element])  # cell → where it is moved to
        arrows = places[:, :, None] - places[:, None, :]
        after = places[:, arrived]
        expected = after[:, :, None] - after[:, None, :]
        np.testing.assert_allclose(
            np.einsum("ij,jpq->ipq", vectors[element], arrows), expected, atol=1e-12
        )


def test_a_group_without_a_plane_turns_no_vectors():
    for name in ("octahedral", "C4xC4"):
        with pytest.raises(ValueError, match="does not act on the plane"):
            vector_action(group_by_name(name))


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("C3", (4, 4), "does not act exactly"),
        ("C8", (5, 5), "does not act exactly"),
        ("D3", (4, 4), "does not act exactly"),
        ("C4", (3, 4), "does not act exactly"),
        ("C4", (4, 4, 4), "no action"),
        ("octahedral", (4, 4), "no action"),
        ("octahedral", (4, 4, 3), "does not act exactly"),
        ("C4xC4", (4, 4), "no action"),
    ],
)
def test_a_grid_that_is_not_mapped_to_itself_is_refused(name, shape, reason):
    with pytest.raises(ValueError, match=f"group {name} {reason}|group {name} has {reason}"):
        grid_action(group_by_name(name), shape)


@pytest.mark.parametrize("name", [*EXACT, "octahedral", "C3", "C5", "C8", "D3", "D5", "C4xC4"])
def test_which_groups_are_exact_on_grids(name):
    assert is_exact_on_grids(group_by_name(name)) == (name in [*EXACT, "octahedral"])
