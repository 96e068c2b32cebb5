"""Images and volumes on a device, moved by gathers."""

from __future__ import annotations

from torch import Tensor

from equigrid.datasets.images.builder import ImageClassification
from equigrid.datasets.resident import Dataset, on_device, read_views
from equigrid.datasets.store import Arrays


class ResidentImages(Dataset):
    """Pixels stay uint8 until a batch is made."""

    draws = 1

    def __init__(self, builder: ImageClassification, arrays: Arrays, device: str) -> None:
        self.group, self.task = builder.group, builder.task
        self.outputs, self.metrics = builder.outputs, builder.metrics
        self.input_shape, self.pairs = builder.input_shape, builder.pairs
        self.sources = {"val": "val", "test": "test", "test_augmented": "test"}
        self.views = {
            "val": read_views(arrays, "val", device),
            "test_augmented": read_views(arrays, "test", device),
        }
        self._mean, self._std = builder.mean, builder.std
        self._action = on_device(arrays["action"], device)
        sources = ("train", "val", "test")
        self._labels = {name: on_device(arrays[f"{name}/labels"], device) for name in sources}
        self._pixels = {
            name: on_device(arrays[f"{name}/images"], device).flatten(2) for name in sources
        }

    def size(self, source: str) -> int:
        return len(self._labels[source])

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self._labels[source][rows]

    def plain(self, source: str, rows: Tensor) -> Tensor:
        return self._normalised(self._pixels[source][rows])

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        pixels = self._pixels[source][rows]
        moved = self._action[elements][:, None].expand_as(pixels)
        return self._normalised(pixels.gather(2, moved))

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        """Of a volume the middle slice along its first axis."""
        pixels = (inputs * self._std + self._mean).clamp(0, 1)
        if pixels.ndim > 4:
            pixels = pixels[:, :, pixels.shape[2] // 2]
        return pixels.movedim(1, -1) if pixels.shape[1] == 3 else pixels.mean(1)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """uint8 [b, channels, points] → float [b, *input_shape]."""
        return ((pixels.float() / 255 - self._mean) / self._std).reshape(-1, *self.input_shape)
