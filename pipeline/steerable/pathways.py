"""A free convolution beside a steerable one (Finzi, Benton and Wilson, arXiv 2112.01388)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equigrid.steerable.layers import Expanding, FieldType, SteerableConvolution

PLAIN = {2: nn.Conv2d, 3: nn.Conv3d}


class ResidualPathway(Expanding):
    """The sum of both, in one convolution: the filters are added before."""

    def __init__(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(into, out, size, stride, padding, bias=False)
        self.steerable = SteerableConvolution(into, out, size, bias=bias)
        plain = PLAIN[into.group.dimension]
        self.free = plain(into.channels, out.channels, size, bias=bias)

    def filter(self) -> Tensor:
        return self.steerable.filter() + self.free.weight

    def full_bias(self) -> Tensor | None:
        steerable, free = self.steerable.full_bias(), self.free.bias
        return free if steerable is None or free is None else steerable + free


def squares(module: nn.Module) -> Tensor:
    """Σw² over all parameters."""
    found = [it.square().sum() for it in module.parameters()]
    return torch.stack(found).sum()
