"""Pairs of digits in two typefaces, made when a batch asks for them."""

from __future__ import annotations

import math

from torch import Tensor

from equigrid.datasets.resident import Dataset, on_device, read_views
from equigrid.datasets.rotation import rotations, sampled
from equigrid.datasets.store import Arrays
from equigrid.datasets.typefaces.builder import STEPS, Typefaces


class ResidentTypefaces(Dataset):
    """A draw is a digit, an angle and a scale; an element is a typeface."""

    outputs, metrics = 1, ()

    def __init__(self, builder: Typefaces, arrays: Arrays, device: str) -> None:
        self.group, self.task = builder.group, builder.task
        self.input_shape, self.draws = builder.input_shape, builder.draws
        self.pairs = builder.pairs
        self.sources = {"val": "val", "test": "test"}
        self.views = {split: read_views(arrays, split, device) for split in ("val", "test")}
        sizes = builder.parameters
        self._sizes = {"train": sizes.train, "val": sizes.val, "test": sizes.test}
        self._images = on_device(arrays["images"], device).float() / 255
        self._mode = "bilinear" if builder.parameters.variant == "paper" else "nearest"

    def size(self, source: str) -> int:
        return self._sizes[source]

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self.plain(source, rows)

    def targets_of(self, source: str, rows: Tensor, x: Tensor) -> Tensor:
        return x

    def plain(self, source: str, rows: Tensor) -> Tensor:
        """The digits in turn, upright, in the first typeface."""
        return self._images[0, rows % self._images.shape[1]][:, None]

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        digits = draws % self._images.shape[1]
        rest = draws // self._images.shape[1]
        angles = (rest % STEPS) * (math.pi / STEPS) - math.pi / 2
        scales = 0.8 + (rest // STEPS) * (0.4 / STEPS)
        inverse = rotations(-angles.float()) / scales.float()[:, None, None]
        return sampled(self._images[elements, digits], inverse, self._mode)[:, None]

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        return inputs[:, 0].clamp(0, 1)
