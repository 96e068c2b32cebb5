"""Convolutions with relaxed weights (Wang, Walters and Yu, arXiv 2201.11969)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equigrid.steerable.layers import FieldType, SteerableConvolution


class RelaxedSteerableConvolution(SteerableConvolution):
    """RSteer: the weights of the basis may differ from pixel to pixel of the filter.

    At the start they do not. Every channel may have a bias, invariant or not.
    """

    def __init__(
        self, into: FieldType, out: FieldType, size: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(into, out, size, stride=stride, padding=padding, bias=False)
        pixels = size**into.group.dimension
        self.weights = nn.Parameter(self.weights.detach()[..., None].repeat(1, 1, 1, pixels))
        self.free_bias = nn.Parameter(torch.zeros(out.channels))

    def full_bias(self) -> Tensor:
        return self.free_bias

    def filter(self) -> Tensor:
        shape = (-1, self.out.components, self.into.components, self.weights.shape[3])
        basis = self.basis.view(shape)
        return self.shaped(torch.einsum("mnbp,bxyp->xmynp", self.weights, basis))

    def roughness(self) -> Tensor:
        """Mean |difference| of the weights of neighbouring pixels: 0 where it is steerable."""
        axes = self.into.group.dimension
        grid = self.weights.view(*self.weights.shape[:3], *[self.size] * axes)
        steps = [grid.diff(dim=axis).abs().flatten() for axis in range(3, 3 + axes)]
        return torch.cat(steps).mean()


class RelaxedGroupConvolution(nn.Module):
    """RGroup: filters that turn, each a combination of banks with weights of its own for each turn.

    out[g] = Σ_h x[h] * g·(Σ_l w_l(g) ψ_l[g⁻¹h]) for the quarter turns g of the plane; channels are
    scalars. lifts: the input has no axis h yet. No bias.

    At the start w_l(g) = 1 / banks and ψ is uniform within ± 1 / √(numbers that an output sums).
    start: `released`: as in the authors' code, w_l(g) is a quarter of that and ψ does not count the
    axis h, so that filters are half as large. A lifting layer starts the same either way.
    """

    def __init__(
        self, into: int, out: int, size: int, *, banks: int = 2, lifts: bool, start: str = "fan_in"
    ) -> None:
        super().__init__()
        self.lifts, self.padding = lifts, size // 2
        turns = 1 if lifts else 4
        counted, share = (1, turns) if start == "released" else (turns, 1)
        bound = (into * counted * size**2) ** -0.5
        self.banks = nn.Parameter(
            torch.empty(banks, out, into, turns, size, size).uniform_(-bound, bound)
        )
        self.weights = nn.Parameter(torch.full((4, banks), 1 / (banks * share)))

    def forward(self, x: Tensor) -> Tensor:
        """[b, in, (4,) rows, columns] → [b, out, 4, rows, columns]."""
        filters = []
        for g in range(4):
            combined = torch.tensordot(self.weights[g], self.banks, 1)  # [out, in, h, k, k]
            turned = combined.rot90(g, (3, 4))
            filters.append(turned if self.lifts else turned.roll(g, 2))
        flat = torch.stack(filters, 1).flatten(0, 1).flatten(1, 2)
        maps = x if self.lifts else x.flatten(1, 2)
        found = nn.functional.conv2d(maps, flat, padding=self.padding)
        return found.reshape(len(x), -1, 4, *found.shape[2:])
