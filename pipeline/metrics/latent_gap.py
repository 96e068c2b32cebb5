"""How far latents are from where a group action puts them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def relative(value: float, spread: float) -> float:
    """A sum of squares over a spread; not finite where latents are all the same."""
    return value / spread if spread else math.inf * value


class Spread:
    """Σ‖z − mean z‖² over batches of latents, in double precision (Chan's update).

    Latents may be maps that do not all fit into memory at once.
    """

    def __init__(self) -> None:
        self._count = 0
        self._spread = self._mean = torch.zeros((), dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        """[b, …] latents."""
        z = z.double()
        mean = z.mean(0)
        total = self._count + len(z)
        moved = mean - self._mean.to(mean.device)
        between = moved.square().sum() * (self._count * len(z) / total)
        self._spread = self._spread.to(mean.device) + (z - mean).square().sum() + between
        self._mean = mean if not self._count else self._mean + moved * (len(z) / total)
        self._count = total

    @property
    def total(self) -> float:
        return float(self._spread)


class LatentGap:
    """Σ‖z1 − z2‖² and Σ‖z2 − mean z2‖² over batches, in double precision."""

    def __init__(self) -> None:
        self._numbers = 0
        self._mismatch = torch.zeros((), dtype=torch.float64)
        self._spread = Spread()

    def add(self, z1: Tensor, z2: Tensor) -> None:
        """[b, …] latents that should be equal."""
        first, second = z1.double(), z2.double()
        self._mismatch = self._mismatch.to(second.device) + (first - second).square().sum()
        self._spread.add(second)
        self._numbers += second.numel()

    @property
    def mean_square(self) -> float:
        return float(self._mismatch) / self._numbers

    @property
    def relative(self) -> float:
        return relative(float(self._mismatch), self._spread.total)
