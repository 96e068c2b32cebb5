"""A small CNN for small canvases: trains in seconds on one CPU thread."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions, the last two with stride 2, and a linear map to the latent.

    The latent is that linear map's output, before BatchNorm and ELU, as in the larger networks.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, width: int = 16, latent: int = 64
    ) -> None:
        super().__init__()
        channels = (input_shape[0], width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for index, (inputs, features) in enumerate(pairwise(channels)):
            stride = 1 if index == 0 else 2
            layers += [
                nn.Conv2d(inputs, features, 3, stride=stride, padding=1),
                nn.BatchNorm2d(features),
                nn.ELU(),
            ]
        layers.append(nn.Flatten())
        features = nn.Sequential(*layers).eval()(torch.zeros(1, *input_shape)).shape[1]
        self.encoder = nn.Sequential(*layers, nn.Linear(features, latent)).train()
        self.head = nn.Sequential(nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))
