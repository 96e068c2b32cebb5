"""Arrays of one's own on a device, moved by gathers."""

from __future__ import annotations

import torch
from torch import Tensor

from equigrid.datasets.arrays.builder import LabelledArrays
from equigrid.datasets.images.resident import ResidentImages
from equigrid.datasets.store import Arrays


class ResidentArrays(ResidentImages):
    """uint8 stays so until a batch is made; floats are taken as they are, or normalised."""

    def __init__(self, builder: LabelledArrays, arrays: Arrays, device: str) -> None:
        super().__init__(builder, arrays, device)
        bytes_ = self._pixels["train"].dtype == torch.uint8
        default = 0.5 if bytes_ else None
        mean, std = builder.parameters.mean, builder.parameters.std
        self._scale = 255.0 if bytes_ else 1.0
        self._mean = mean if mean is not None else default or 0.0
        self._std = std if std is not None else default or 1.0

    def _normalised(self, pixels: Tensor) -> Tensor:
        scaled = (pixels.float() / self._scale - self._mean) / self._std
        return scaled.reshape(-1, *self.input_shape)

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        """Floats from their darkest to their brightest."""
        if self._scale == 1.0:
            of = inputs if like is None else like
            low, high = of.min(), of.max()
            inputs = ((inputs - low) / (high - low).clamp_min(1e-12) - self._mean) / self._std
        return super().pictures(inputs, like)
