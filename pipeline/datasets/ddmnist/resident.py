"""Double digits on a device: gathers from the cache and the canvas they are put on."""

from __future__ import annotations

import torch
from torch import Tensor

from equigrid.datasets.ddmnist.builder import DDMNIST
from equigrid.datasets.resident import Dataset, on_device, read_views
from equigrid.datasets.store import Arrays


class ResidentDDMNIST(Dataset):
    """The digits stand in the middle half of the rows; left and right half of the columns."""

    def __init__(self, builder: DDMNIST, arrays: Arrays, device: str) -> None:
        self.group, self.task = builder.group, builder.task
        self.outputs = builder.labels
        self.draws = builder.draws
        self.sources = {"val": "val", "test": "test", "test_augmented": "test"}
        self.views = {
            "val": read_views(arrays, "val", device),
            "test_augmented": read_views(arrays, "test", device),
        }
        self._side = side = builder.source.side
        self.input_shape = builder.input_shape
        self._factor = builder.factor.order
        self._artefacts = builder.parameters.artefacts.draws if builder.parameters.artefacts else 0
        self._classes = builder.parameters.digits
        self._mean, self._std = builder.parameters.mean, builder.parameters.std
        self._labels, self._digits, self._orbits = {}, {}, {}
        for source in ("train", "val", "test"):
            self._labels[source] = on_device(arrays[f"{source}/labels"], device)
            self._digits[source] = on_device(arrays[f"{source}/digits"], device).reshape(
                -1, side**2
            )
            if self._artefacts:
                orbit = on_device(arrays[f"{source}/orbit"], device)
                self._orbits[source] = orbit.reshape(-1, side**2)
        self._action = None if self._artefacts else on_device(arrays["action"], device)

    def size(self, source: str) -> int:
        return len(self._labels[source])

    def targets(self, source: str, rows: Tensor) -> Tensor:
        return self._labels[source][rows]

    def plain(self, source: str, rows: Tensor) -> Tensor:
        return self._canvas(self._digits[source][_slots(rows)])

    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        element = _unravel(elements, self._factor)
        if self._action is not None:
            digits = self._digits[source][_slots(rows)]
            return self._canvas(digits.gather(2, self._action[element]))
        position = _slots(rows) * self._factor + element
        position = position * self._artefacts + _unravel(draws, self._artefacts)
        return self._canvas(self._orbits[source][position])

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor:
        return (inputs[:, 0] * self._std + self._mean).clamp(0, 1)

    def label(self, target: Tensor) -> str:
        tens, units = divmod(int(target), self._classes)
        return f"{tens} and {units}"

    def _canvas(self, digits: Tensor) -> Tensor:
        """uint8 [b, 2, side²] → normalised float [b, 1, 2·side, 2·side]."""
        side = self._side
        canvas = torch.full(
            (len(digits), 1, 2 * side, 2 * side),
            -self._mean / self._std,
            device=digits.device,
        )
        top = side // 2
        normalised = (digits.float() / 255 - self._mean) / self._std
        pair = normalised.reshape(-1, 2, side, side)
        canvas[:, 0, top : top + side, :side] = pair[:, 0]
        canvas[:, 0, top : top + side, side:] = pair[:, 1]
        return canvas


def _slots(rows: Tensor) -> Tensor:
    """[b] pair numbers → [b, 2] digit numbers."""
    return rows[:, None] * 2 + torch.arange(2, device=rows.device)


def _unravel(index: Tensor, base: int) -> Tensor:
    """[b] index of a pair → [b, 2] indices of its parts."""
    return torch.stack([index // base, index % base], dim=1)
