"""A fully connected network that predicts the next frame of a vector field (table 6)."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn


class FieldMLP(nn.Module):
    """The MLP of table 6: 8 324 992 parameters for 10 frames of 2 channels on 64×64.

    Five linear layers, the first four with BatchNorm and ReLU; the latent is the fourth's output.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, latent: int = 92) -> None:
        super().__init__()
        channels, *grid = input_shape
        rows, columns = grid
        layers: list[nn.Module] = [nn.Flatten()]
        sizes = (channels * rows * columns, latent, latent, latent, latent)
        for inputs, features in pairwise(sizes):
            layers += [nn.Linear(inputs, features), nn.BatchNorm1d(features), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Linear(latent, outputs * rows * columns), nn.Unflatten(1, (outputs, rows, columns))
        )

    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames · channels, rows, columns] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames · channels, rows, columns] → [batch, channels, rows, columns]."""
        return cast(Tensor, self.head(self.encode(x)))
