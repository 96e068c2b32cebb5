"""How far latents are from where a group action puts them."""

from __future__ import annotations

import torch
from torch import Tensor


class LatentGap:
    """Σ‖z1 − z2‖² and Σ‖z2 − mean z2‖² over batches, in double precision (Chan's update).

    Latents may be maps that do not all fit into memory at once.
    """

    def __init__(self) -> None:
        self._count = 0
        self._numbers = 0
        self._mismatch = self._spread = self._mean = torch.zeros((), dtype=torch.float64)

    def add(self, z1: Tensor, z2: Tensor) -> None:
        """[b, …] latents that should be equal."""
        first, second = z1.double(), z2.double()
        mean = second.mean(0)
        total = self._count + len(second)
        moved = mean - self._mean.to(mean.device)
        between = moved.square().sum() * (self._count * len(second) / total)
        self._mismatch = self._mismatch.to(mean.device) + (first - second).square().sum()
        self._spread = self._spread.to(mean.device) + (second - mean).square().sum() + between
        self._mean = mean if not self._count else self._mean + moved * (len(second) / total)
        self._count, self._numbers = total, self._numbers + second.numel()

    @property
    def mean_square(self) -> float:
        return float(self._mismatch / self._numbers)

    @property
    def relative(self) -> float:
        return float(self._mismatch / self._spread)
