"""Digits on a device, mirrored and turned when a batch asks for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equigrid.datasets.mnist.builder import MNIST, STEPS
from equigrid.datasets.resident import Dataset, on_device, read_views
from equigrid.datasets.rotation import rotations, transform_images
from equigrid.datasets.store import Arrays


class ResidentMNIST(Dataset):
    """A draw is a mirroring and an angle; the element acts on what comes of it."""

    outputs, metrics = 1, ()

    def __init__(self, builder: MNIST, arrays: Arrays, device: str) -> None:
        self.group, self.task = builder.group, builder.task
        self.input_shape, self.draws = builder.input_shape, builder.draws
        self.pairs = builder.pairs
        self.sources = {"val": "val", "test": "test"}
        self.views = {split: read_views(arrays, split, device) for split in ("val", "test")}
        self._turned = builder.parameters.turned
        self._images = {
            name: on_device(arrays[f"{name}/images"], device) for name in ("train", "val", "test")
        }
        assert builder.group.matrices is not None
        self._matrices = torch.from_numpy(builder.group.matrices).float().to(device)
        self._mirror = torch.diag(torch.tensor([-1.0, 1.0])).to(device)

    def size(self, source: str) -> int:
        return len(self._images[source])

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self.plain(source, rows)

    def targets_of(self, source: str, rows: Tensor, x: Tensor) -> Tensor:
        return x

    def plain(self, source: str, rows: Tensor) -> Tensor:
        return self._images[source][rows][:, None].float() / 255

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        images = self._images[source][rows].float() / 255
        matrices = self._matrices[elements]
        if self._turned:
            matrices = matrices @ rotations((draws // 2).float() * (2 * math.pi / STEPS))
        mirrored = (draws % 2 == 1)[:, None, None]
        matrices = torch.where(mirrored, matrices @ self._mirror, matrices)
        return transform_images(images, matrices)[:, None]

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        return inputs[:, 0].clamp(0, 1)
