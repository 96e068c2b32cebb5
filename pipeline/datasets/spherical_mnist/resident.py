"""Spherical images on a device: their coefficients, and how to look at them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.datasets.builder import random_stream
from equigrid.datasets.resident import Dataset, on_device
from equigrid.datasets.spherical_mnist.builder import SphericalMNIST
from equigrid.datasets.store import Arrays
from equigrid.spherical.harmonics import Grid, degree_of
from equigrid.spherical.images import disc, on_sphere
from equigrid.spherical.rotations import random_rotations, rotate

#: Rows and columns of a picture.
SIDE = 56


class ResidentSphericalMNIST(Dataset):
    """Inputs are targets; the labels are for probes of latents alone."""

    outputs, draws = 1, 1

    def __init__(self, builder: SphericalMNIST, arrays: Arrays, device: str) -> None:
        self.group, self.task = builder.group, builder.task
        self.metrics, self.input_shape = builder.metrics, builder.input_shape
        self.sources, self.views = {"val": "val", "test": "test"}, {}
        self._seed, self._bandwidth = builder.parameters.seed, builder.parameters.bandwidth
        self._scale = float(arrays["scale"][0])
        self._rotations: dict[str, NDArray[np.float64]] = {}
        self._coefficients = {
            name: on_device(arrays[f"{name}/coefficients"], device)
            for name in ("train", "val", "test")
        }
        self._labels = {
            name: on_device(arrays[f"{name}/labels"], device) for name in self._coefficients
        }

    def size(self, source: str) -> int:
        return len(self._labels[source])

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self.plain(source, rows)

    def labels(self, source: str, rows: Tensor) -> Tensor:
        return self._labels[source][rows]

    def plain(self, source: str, rows: Tensor) -> Tensor:
        return self._coefficients[source][rows][:, None]

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        return self.plain(source, rows)

    def rotated(self, source: str, rows: Tensor) -> Tensor:
        """Inputs turned by a rotation of each sample's own, the same at every call."""
        if source not in self._rotations:
            stream = random_stream(self._seed, "test rotations", source)
            self._rotations[source] = random_rotations(self.size(source), stream)
        return rotate(self.plain(source, rows), self._rotations[source][rows.cpu().numpy()])

    def new_inputs(self, arrays: Mapping[str, NDArray[Any]]) -> Tensor:
        """From one of

        images: greys [n, side, side], projected onto the sphere as the digits are.
        samples: values on a Driscoll–Healy grid [n, 2b, 2b] (equigrid.spherical.harmonics.Grid),
        from 0 to 1 where they should be like the digits.
        coefficients: [n, (L + 1)²] of the real orthonormal harmonics.
        inputs: coefficients as the network reads them.
        """
        forms = [name for name in ("images", "samples", "coefficients", "inputs") if name in arrays]
        if len(forms) != 1:
            raise ValueError(
                f"it has {', '.join(arrays)}; allowed: one of images, samples, coefficients, inputs"
            )
        name, degree = forms[0], degree_of(self.input_shape[-1])
        if name == "inputs":
            return super().new_inputs(arrays)
        array, shape = arrays[name], arrays[name].shape
        if name == "coefficients":
            if shape[1:] != self.input_shape[-1:]:
                raise ValueError(f"{name} are {list(shape)}, expected [n, {self.input_shape[-1]}]")
            found = array
        elif len(shape) != 3 or shape[1] != shape[2] or shape[1] < 2:
            raise ValueError(f"{name} are {list(shape)}, expected [n, side, side]")
        elif name == "samples":
            if shape[1] % 2 or shape[1] // 2 <= degree:
                raise ValueError(f"{name} are {list(shape)}: a grid of 2b by 2b, b above {degree}")
            found = array.reshape(len(array), -1) @ Grid(shape[1] // 2).analysis(degree).T
        else:
            grid = Grid(self._bandwidth)
            found = on_sphere(array, grid) @ grid.analysis(degree).T
        return torch.from_numpy((found / self._scale).astype(np.float32))[:, None]

    @cached_property
    def _seen(self) -> tuple[Tensor, Tensor]:
        return disc(SIDE, degree_of(self.input_shape[-1]))

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        """The whole sphere on a disc, equal in area, the south pole (where digits are) amid it."""
        values, inside = self._seen
        found = inputs[:, 0].cpu() @ values.T
        like = found if like is None else like[:, 0].cpu() @ values.T
        low, high = np.percentile(like.numpy(), (1, 99.8), axis=1, keepdims=True)
        low, high = torch.from_numpy(low).float(), torch.from_numpy(high).float()
        grey = ((found - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        return torch.where(inside, grey, 1.0).view(-1, SIDE, SIDE)
