"""The double-digit CNN (paper, C.1)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


def _block(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding),
        nn.BatchNorm2d(outputs),
        nn.ELU(),
    )


class DDMNISTCNN(nn.Module):
    """The network of table 4: 33 742 parameters at the defaults with 100 classes.

    Spatial sizes 57, 55, 55, 27, 15, 7, 3, 3, 1; the latent is the output of the last 1×1
    convolution, before its BatchNorm and ELU.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, width: int = 6, latent: int = 66
    ) -> None:
        super().__init__()
        c = width
        self.encoder = nn.Sequential(
            nn.Upsample(size=(57, 57)),
            _block(input_shape[0], c, 7, 1, 2),
            _block(c, 2 * c, 5, 1, 2),
            nn.AvgPool2d(5, stride=2, padding=1),
            _block(2 * c, 4 * c, 3, 2, 2),
            nn.AvgPool2d(5, stride=2, padding=1),
            _block(4 * c, 6 * c, 3, 2, 0),
            _block(6 * c, 6 * c, 3, 1, 1),
            nn.AvgPool2d(5, stride=1, padding=1),
            nn.Conv2d(6 * c, latent, 1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.BatchNorm1d(latent), nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, channels, 56, 56] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, 56, 56] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))
