"""Harmonics, quadrature and rotations against what they have to be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from equigrid.datasets.digits import SOURCES
from equigrid.datasets.raw import RawStore
from equigrid.spherical.couplings import coupling, pairs_to, vanishes
from equigrid.spherical.harmonics import Grid, degree_of, harmonics, power_spectrum
from equigrid.spherical.images import disc, on_sphere
from equigrid.spherical.rotations import random_rotations, rotate, wigner

seeds = st.integers(0, 2**32 - 1)


def rotations(seed: int, count: int = 2) -> np.ndarray:
    return random_rotations(count, np.random.default_rng(seed))


@pytest.mark.parametrize(("bandwidth", "degree"), [(30, 10), (14, 6), (3, 2)])
def test_harmonics_are_orthonormal_on_the_grid(bandwidth: int, degree: int) -> None:
    grid = Grid(bandwidth)
    gram = grid.analysis(degree) @ grid.synthesis(degree)
    np.testing.assert_allclose(gram, np.eye((degree + 1) ** 2), atol=1e-12)
    assert 2 * bandwidth * grid.weights.sum() == pytest.approx(4 * np.pi, rel=1e-13)


def test_degree_one_is_x_y_z_and_a_size_that_is_no_square_is_refused() -> None:
    points = Grid(4).points.reshape(-1, 3)
    np.testing.assert_allclose(harmonics(points, 1)[:, 1:], points * np.sqrt(3 / (4 * np.pi)))
    assert degree_of(121) == 10
    with pytest.raises(ValueError, match="120 coefficients"):
        degree_of(120)


@given(seeds)
def test_rotations_act_on_coefficients_as_a_group(seed: int) -> None:
    first, second = rotations(seed)
    ours = [wigner(it[None], 5) for it in (first, second, first @ second)]
    for degree, (a, b, both) in enumerate(zip(*ours, strict=True)):
        size = 2 * degree + 1
        np.testing.assert_allclose(a[0] @ a[0].T, np.eye(size), atol=1e-12)
        np.testing.assert_allclose(a[0] @ b[0], both[0], atol=1e-12)
    np.testing.assert_allclose(ours[0][1][0], first, atol=1e-13)
    assert np.linalg.det(first) == pytest.approx(1)


@given(seeds)
def test_no_rotation_changes_a_power_spectrum(seed: int) -> None:
    f = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 3, 36)))
    found = power_spectrum(rotate(f, rotations(seed)))
    torch.testing.assert_close(found, power_spectrum(f), rtol=1e-12, atol=1e-12)


def test_rotations_are_uniform() -> None:
    """Of uniform ones the mean is 0, as is that of every degree above."""
    many = wigner(rotations(0, 4000), 2)
    for matrices in many[1:]:
        assert np.abs(matrices.mean(0)).max() < 5 / np.sqrt(4000)


def test_an_image_turned_on_the_sphere_has_turned_coefficients() -> None:
    """But for what lies above the grid's bandwidth."""
    images = SOURCES["digits"].load(RawStore()).test_images[:5]
    grid, turns = Grid(30), rotations(1, 5)
    matrix = grid.analysis(10).T
    still, turned = on_sphere(images, grid) @ matrix, on_sphere(images, grid, turns) @ matrix
    found = rotate(torch.from_numpy(still), turns).numpy()
    assert np.linalg.norm(found - turned) < 0.01 * np.linalg.norm(turned)
    assert np.linalg.norm(still - turned) > 0.5 * np.linalg.norm(turned)


def test_a_projected_image_lies_around_the_south_pole_as_it_is_drawn() -> None:
    """Its columns run along x, its rows against y; each image uses all of 0 to 1."""
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 4, 20] = 200  # above, to the right
    grid = Grid(30)
    values = on_sphere(image, grid)
    assert (values.min(), values.max()) == (0, 1)
    x, y, z = grid.points.reshape(-1, 3)[values[0].argmax()]
    assert x > 0
    assert y > 0
    assert z < 0
    assert not on_sphere(image * 0, grid).any()  # nothing to see divides by nothing


def test_a_disc_shows_the_whole_sphere() -> None:
    values, inside = disc(40, 3)
    assert 0.75 < inside.float().mean() < 0.8  # π / 4
    constant = values[:, 0][inside]
    torch.testing.assert_close(constant, torch.full_like(constant, (4 * np.pi) ** -0.5))


def spanning(pairs: tuple[tuple[int, int], ...], highest: int) -> int:
    """How many parts pairs leave of the degrees; −1 where they close a circle."""
    parts = {n: n for n in range(highest + 1)}

    def root(n: int) -> int:
        return n if parts[n] == n else root(parts[n])

    for a, b in pairs:
        if root(a) == root(b):
            return -1
        parts[root(a)] = root(b)
    return len({root(n) for n in parts})


def cost(pairs: tuple[tuple[int, int], ...]) -> int:
    return sum((2 * a + 1) * (2 * b + 1) for a, b in pairs)


@pytest.mark.parametrize("highest", range(1, 5))
def test_chosen_pairs_are_the_cheapest_forest_of_all(highest: int) -> None:
    for degree in range(2 * highest + 1):
        degrees = range(highest + 1)
        admissible = [
            (a, b) for a, b in itertools.combinations(degrees, 2) if b - a <= degree <= a + b
        ]
        forests = [
            (spanning(some, highest), cost(some))
            for n in range(len(admissible) + 1)
            for some in itertools.combinations(admissible, n)
        ]
        parts, cheapest = min(it for it in forests if it[0] > 0)
        found = pairs_to(degree, highest)
        tree = tuple(it for it in found if it[0] != it[1])
        assert (spanning(tree, highest), cost(tree)) == (parts, cheapest)
        assert set(tree) <= set(admissible)
        assert [a for a, b in found if a == b] == [n for n in degrees if 2 * n >= degree]


def test_couplings_commute_with_rotations_and_are_kept(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    coupling.cache_clear()
    (turn,) = rotations(3, 1)
    matrices = [it[0] for it in wigner(turn[None], 5)]
    for low, high, degree in ((1, 2, 3), (2, 2, 4), (1, 3, 3), (0, 2, 2)):
        found = coupling(low, high, degree)
        assert np.square(found).sum() == pytest.approx(1)
        moved = np.einsum("ijk,ia,jb,kc->abc", found, *(matrices[n] for n in (low, high, degree)))
        np.testing.assert_allclose(moved, found, atol=1e-12)
    files = sorted((tmp_path / "equigrid" / "couplings").iterdir())
    assert len(files) == 4
    # Torn, or of zeros as a crash leaves them (of today's size, and of numbers alone): calculated
    # again, and written again.
    sound = files[0].read_bytes()
    for damaged in (sound[:-8], bytes(len(sound)), bytes(found.nbytes), b""):
        files[0].write_bytes(damaged)
        coupling.cache_clear()
        np.testing.assert_array_equal(coupling(0, 2, 2), found)
        assert files[0].read_bytes() == sound
    coupling.cache_clear()
    np.testing.assert_array_equal(coupling(0, 2, 2), found)
    assert not np.asarray(coupling(1, 1, 1) + coupling(1, 1, 1).transpose(1, 0, 2)).any()
    assert vanishes((1, 1), 1)
    assert not vanishes((1, 1), 2)
    coupling.cache_clear()
