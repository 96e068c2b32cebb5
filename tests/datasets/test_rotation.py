"""Bilinear rotation: against SciPy, and the orbit of a digit with its artefacts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from equigrid.datasets.rotation import orbit_with_artefacts, rotations, transform_images
from equigrid.symmetry import group_by_name


def _strokes(n, side=28):
    """Smooth asymmetric images, uint8: blurred random walks within the inscribed circle."""
    random = np.random.default_rng(0)
    images = np.zeros((n, side, side))
    for image in images:
        path = np.cumsum(random.normal(size=(60, 2)), axis=0)
        path *= 0.3 * side / np.abs(path).max()
        rows, columns = np.round(path + side / 2).astype(int).T
        image[rows, columns] = 1
    blurred = ndimage.gaussian_filter(images, (0, 1, 1))
    return np.round(255 * blurred / blurred.max(axis=(1, 2), keepdims=True)).astype(np.uint8)


def _turned(image, group, element):
    """The exact element: flip left–right first, then rotate counter-clockwise."""
    flip, k = divmod(element, sum(np.linalg.det(group.matrices) > 0))
    return np.rot90(image[:, ::-1] if flip else image, k)


def _angles(images, group, draws, value=None):
    shape = (*images.shape[:2], group.order, draws)
    if value is not None:
        return np.full(shape, value)
    return np.random.default_rng(1).uniform(-np.pi, np.pi, size=shape)


@pytest.mark.parametrize("side", [7, 28])
@pytest.mark.parametrize("degrees", [-170, -45, 10, 33, 90, 120])
def test_one_rotation_is_scipys(degrees, side):
    """Counter-clockwise, bilinear, zero outside, same size; even and odd sides."""
    image = np.random.default_rng(2).uniform(size=(side, side))
    turn = rotations(torch.deg2rad(torch.tensor([float(degrees)])))
    found = transform_images(torch.from_numpy(image).float()[None], turn)[0].numpy()
    expected = ndimage.rotate(image, degrees, order=1, reshape=False, mode="grid-constant")
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("name", ["C4", "D4"])
@pytest.mark.parametrize("quarter", [-2, -1, 0, 1])
def test_artefacts_of_a_quarter_turn_are_none(name, quarter):
    """With s a multiple of 90° both interpolations are exact, and so is every element."""
    group = group_by_name(name)
    images = _strokes(4).reshape(2, 2, 28, 28)
    angles = _angles(images, group, 1, quarter * np.pi / 2)
    orbit = orbit_with_artefacts(images, group, angles, undo=True)
    for element in range(group.order):
        for place in np.ndindex(2, 2):
            expected = _turned(images[place], group, element)
            np.testing.assert_array_equal(orbit[place][element, 0], expected)


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_a_digit_ends_at_the_exact_element_blurred(name):
    """Whatever s was, the image looks like its own element more than like any other."""
    group = group_by_name(name)
    images = _strokes(6).reshape(3, 2, 28, 28)
    orbit = orbit_with_artefacts(images, group, _angles(images, group, 2), undo=True)
    for place in np.ndindex(3, 2):
        exact = np.stack([_turned(images[place], group, g).ravel() for g in range(group.order)])
        for element in range(group.order):
            for draw in range(2):
                blurred = orbit[place][element, draw].ravel()
                likeness = np.corrcoef(np.vstack([blurred, exact]))[0, 1:]
                assert likeness.argmax() == element
                assert 0.9 < likeness[element] < 1 - 1e-6  # blurred, though


def test_two_rotations_are_scipys_one_after_the_other():
    """Flip, rotate by s, then by (90k − s), each bilinear with zero fill; rounded to uint8."""
    group = group_by_name("D4")
    images = _strokes(2).reshape(1, 2, 28, 28)
    angles = _angles(images, group, 2)
    orbit = orbit_with_artefacts(images, group, angles, undo=True)

    def rotate(image, degrees):
        return ndimage.rotate(image, degrees, order=1, reshape=False, mode="grid-constant")

    for slot in range(2):
        for element in range(8):
            for draw in range(2):
                s = np.rad2deg(angles[0, slot, element, draw])
                flip, k = divmod(element, 4)
                image = images[0, slot].astype(float)
                once = rotate(image[:, ::-1] if flip else image, s)
                expected = rotate(once, 90 * k - s)
                difference = orbit[0, slot, element, draw] - expected
                assert np.abs(difference).max() < 0.51


def test_released_leaves_digits_turned_by_s():
    """Without the −s element 0 is the rotation by s alone, and element k is 90k° on top of it."""
    group = group_by_name("C4")
    images = _strokes(2).reshape(1, 2, 28, 28)
    angles = _angles(images, group, 1, 0.6)
    released = orbit_with_artefacts(images, group, angles, undo=False)
    paper = orbit_with_artefacts(images, group, angles, undo=True)
    for slot in range(2):
        turned = ndimage.rotate(
            images[0, slot].astype(float), np.rad2deg(0.6), order=1, reshape=False
        )
        assert np.abs(released[0, slot, 0, 0] - turned).max() < 0.51
        likeness = np.corrcoef(released[0, slot, 0, 0].ravel(), paper[0, slot, 0, 0].ravel())
        assert likeness[0, 1] < 0.9
        for k in range(4):
            difference = released[0, slot, k, 0].astype(int) - np.rot90(released[0, slot, 0, 0], k)
            assert np.abs(difference).max() <= 1  # float32 may round either way
