"""Predictors without training: what a trained network has to beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MajorityClass(nn.Module):
    """Predicts the most frequent class of the training split (the lowest among equals).

    targets: [training samples] int64 class labels.
    """

    trivial = True

    def __init__(self, targets: Tensor, outputs: int) -> None:
        super().__init__()
        counts = torch.bincount(targets.flatten().cpu(), minlength=outputs)
        scores = nn.functional.one_hot(counts.argmax(), outputs).float()
        self.register_buffer("scores", scores)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, …] → [batch, outputs]: 1 for the majority class."""
        assert isinstance(self.scores, Tensor)
        return self.scores.expand(len(x), -1)
