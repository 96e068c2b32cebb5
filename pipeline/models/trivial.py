"""Predictors without training: what a trained network has to beat."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class TargetSource(Protocol):
    """What a predictor may know of a dataset."""

    outputs: int

    def size(self, source: str) -> int: ...

    def targets(self, source: str, rows: Tensor) -> Tensor: ...


class MajorityClass(nn.Module):
    """Predicts the most frequent class of the training split (the lowest among equals)."""

    def __init__(self, dataset: TargetSource) -> None:
        super().__init__()
        targets = dataset.targets("train", torch.arange(dataset.size("train")))
        counts = torch.bincount(targets.cpu(), minlength=dataset.outputs)
        scores = nn.functional.one_hot(counts.argmax(), dataset.outputs).float()
        self.register_buffer("scores", scores)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, …] → [batch, outputs]: 1 for the majority class."""
        assert isinstance(self.scores, Tensor)
        return self.scores.expand(len(x), -1)


class Persistence(nn.Module):
    """Repeats the last frame of its input: what a forecast has to beat."""

    def __init__(self, dataset: TargetSource) -> None:
        super().__init__()
        self.channels = dataset.outputs

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames · channels, rows, columns] → [batch, channels, rows, columns]."""
        return x[:, -self.channels :]
