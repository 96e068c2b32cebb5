"""How far reconstructions are from what was to be reconstructed."""

from __future__ import annotations

import torch
from torch import Tensor

from equigrid.spherical.harmonics import degree_of


class MeanSquare:
    """The mean squared error over samples and entries."""

    def __init__(self) -> None:
        self._errors: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """[b, …] each."""
        self._errors.append((outputs - targets).square().flatten(1).mean(1, dtype=torch.float64))

    def compute(self) -> float:
        return float(torch.cat(self._errors).mean())


class CosineDistance:
    """1 − ⟨x, y⟩ / (|x| |y|), mean over samples.

    by_degree: of coefficients of spherical harmonics, those of degree l count √(2l + 1) times as
    much in every product (as the authors of H-(V)AE measure it).
    """

    def __init__(self, *, by_degree: bool = False) -> None:
        self.by_degree = by_degree
        self._distances: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """[b, …] each; by degree [..., (L + 1)²]."""
        x, y = outputs.double(), targets.double()
        if self.by_degree:
            degrees = torch.arange(degree_of(x.shape[-1]) + 1, device=x.device)
            components = 2 * degrees + 1
            weights = components.double().sqrt().repeat_interleave(components)
            x, y = x * weights.sqrt(), y * weights.sqrt()
        x, y = x.flatten(1), y.flatten(1)
        self._distances.append(1 - torch.nn.functional.cosine_similarity(x, y, 1))

    def compute(self) -> float:
        return float(torch.cat(self._distances).mean())
