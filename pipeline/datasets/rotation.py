"""Bilinear rotation of whole batches of small images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.symmetry import FiniteGroup


def transform_images(images: Tensor, matrices: Tensor) -> Tensor:
    """Images [b, side, side] under orthogonal matrices [b, 2, 2] about the centre: x'(p) = x(M⁻¹p).

    Coordinates are (x right, y up); bilinear, zero fill, same size.
    """
    return sampled(images, matrices.transpose(1, 2))


def sampled(images: Tensor, inverse: Tensor, mode: str = "bilinear") -> Tensor:
    """Images [b, side, side], each point taken from where [b, 2, 2] puts it: x'(p) = x(Ap)."""
    flip = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=inverse.device)
    # grid_sample's y points down.
    theta = torch.cat([inverse * flip, inverse.new_zeros(len(images), 2, 1)], dim=2)
    size = [len(images), 1, *images.shape[1:]]
    grid = torch.nn.functional.affine_grid(theta, size, align_corners=False)
    found = torch.nn.functional.grid_sample(
        images[:, None], grid, mode=mode, padding_mode="zeros", align_corners=False
    )
    return found[:, 0]


def rotations(angles: Tensor) -> Tensor:
    """[b] radians → [b, 2, 2] counter-clockwise rotations."""
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)


def orbit_with_artefacts(
    images: NDArray[np.uint8], group: FiniteGroup, angles: NDArray[np.float64], *, undo: bool
) -> NDArray[np.uint8]:
    """Every image at every element, blurred by two interpolations (experiments, DDMNIST).

    images: [n, 2, side, side]; angles: s, [n, 2, |H|, R] radians. Flip first, then rotate by s,
    then by (90k − s); without `undo` the −s is left out, and the digit stays turned by s.
    Returns uint8 [n, 2, |H|, R, side, side].
    """
    assert group.matrices is not None
    n, slots, elements, draws = angles.shape
    side = images.shape[-1]
    turn = rotations(torch.from_numpy(angles).float().flatten())
    target = torch.from_numpy(group.matrices).float()[None, None, :, None]
    target = target.expand(n, slots, elements, draws, 2, 2).reshape(-1, 2, 2)
    # Flip first, then rotate: the flip is done on the pixels, exactly, before any interpolation.
    mirrored = torch.linalg.det(target) < 0
    mirror = torch.diag(torch.tensor([-1.0, 1.0]))
    rotation = torch.where(mirrored[:, None, None], target @ mirror, target)
    pixels = torch.from_numpy(images.astype(np.float32))[:, :, None, None]
    pixels = pixels.expand(n, slots, elements, draws, side, side).reshape(-1, side, side)
    pixels = torch.where(mirrored[:, None, None], pixels.flip(-1), pixels)
    once = transform_images(pixels, turn)
    back = rotation @ turn.transpose(1, 2) if undo else rotation
    twice = transform_images(once, back)
    quantised = twice.round().clamp(0, 255).to(torch.uint8)
    return quantised.reshape(n, slots, elements, draws, side, side).numpy()
