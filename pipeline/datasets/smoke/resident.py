"""Smoke on a device: windows are views into the simulations, copied a batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset, on_device, read_views
from equigrid.datasets.smoke.builder import COMPONENTS, HORIZONS, INPUT_FRAMES, SKIPPED, Smoke
from equigrid.datasets.store import Arrays


class ResidentSmoke(Dataset):
    """Inputs [b, frames · 2, rows, columns], frame by frame; targets [b, frames, 2, rows, …]."""

    draws = 1
    outputs = COMPONENTS

    def __init__(self, builder: Smoke, arrays: Arrays, device: str) -> None:
        self.group, self.task, self.metrics = builder.group, builder.task, builder.metrics
        self.input_shape = builder.input_shape
        self.sources = {"val": "val", "future": "future", "domain": "domain"}
        self.views = {"val": read_views(arrays, "val", device)}
        self._velocity = on_device(arrays["velocity"], device)
        self._windows = {name: on_device(arrays[f"{name}/windows"], device) for name in HORIZONS}
        self._action = on_device(arrays["action"], device)
        self._vectors = on_device(arrays["vectors"], device)

    def size(self, source: str) -> int:
        return len(self._windows[source])

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self._frames(source, rows, SKIPPED + INPUT_FRAMES, HORIZONS[source])

    def moved_targets(self, source: str, rows: Tensor, elements: Tensor) -> Tensor:
        return self._moved(self.targets(source, rows), elements)

    def plain(self, source: str, rows: Tensor) -> Tensor:
        return self._frames(source, rows, SKIPPED, INPUT_FRAMES).flatten(1, 2)

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        frames = self._frames(source, rows, SKIPPED, INPUT_FRAMES)
        return self._moved(frames, elements).flatten(1, 2)

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        """The speed in the last frame, y upwards; white is the fastest."""
        fastest = _speed(inputs if like is None else like).max().clamp(min=1e-12)
        return (_speed(inputs) / fastest).nan_to_num(1).clamp(max=1).flip(1)

    def _frames(self, source: str, rows: Tensor, first: int, count: int) -> Tensor:
        """[b, count, 2, rows, columns] from frame `first` of each window on."""
        simulation, start = self._windows[source][rows].unbind(1)
        frames = start[:, None] + torch.arange(first, first + count, device=start.device)
        return self._velocity[simulation[:, None], frames]

    def _moved(self, frames: Tensor, elements: Tensor) -> Tensor:
        """Frames [b, f, 2, rows, columns] at [b] elements: the grid moves, its vectors turn."""
        points = frames.flatten(3)
        moved = points.gather(3, self._action[elements][:, None, None].expand_as(points))
        turned = torch.einsum("bij,bfjp->bfip", self._vectors[elements], moved)
        return turned.reshape(frames.shape)


def _speed(fields: Tensor) -> Tensor:
    """[b, …, rows, columns] with components last among channels → [b, rows, columns]."""
    return fields[:, -COMPONENTS:].square().sum(1).sqrt()
