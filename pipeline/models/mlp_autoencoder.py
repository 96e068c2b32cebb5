"""The fully connected autoencoder of the paper's second experiment (appendix B.2)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, cast

from torch import Tensor, nn

from equigrid.parameters import Later

HIDDEN = (512, 256, 128)


class MLPAutoencoder(nn.Module):
    """Hidden layers of 512, 256 and 128, a linear map to the latent; and back.

    bounded: whether outputs end in a sigmoid, as pictures from 0 to 1 want it.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        latent: int = 30,
        bounded: Annotated[bool, Later()] = True,
    ) -> None:
        super().__init__()
        sizes = (math.prod(input_shape), *HIDDEN, latent)
        self.encoder = nn.Sequential(nn.Flatten(), *_layers(sizes))
        last = [nn.Sigmoid()] if bounded else []
        self.head = nn.Sequential(*_layers(sizes[::-1]), *last, nn.Unflatten(1, input_shape))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, *input_shape]."""
        return cast(Tensor, self.head(self.encode(x)))


def _layers(sizes: tuple[int, ...]) -> list[nn.Module]:
    """Linear maps with a ReLU between any two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(inputs, outputs))
    return layers
