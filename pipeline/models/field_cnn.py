"""The CNN that predicts the next frame of a vector field (paper, C.3)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class FieldCNN(nn.Module):
    """The network of table 6: 247 850 parameters at the defaults with 10 frames of 2 channels.

    Five 3×3 convolutions on the input's own grid. The latent is the output of the fourth block,
    after its BatchNorm and ReLU: maps [width, rows, columns].
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, width: int = 92) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs in (input_shape[0], width, width, width):
            blocks += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        self.encoder = nn.Sequential(*blocks)
        self.head = nn.Conv2d(width, outputs, 3, padding=1)

    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames · channels, rows, columns] → [batch, width, rows, columns]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames · channels, rows, columns] → [batch, channels, rows, columns]."""
        return cast(Tensor, self.head(self.encode(x)))
