"""The convolutional autoencoder of the paper's first experiment (appendix B.1)."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


class ConvAutoencoder(nn.Module):
    """Two strided convolutions and one over what is left, a linear map to the latent; and back.

    Grids are square, with sides that are multiples of 4: 28 → 14 → 7 → 1.
    """

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, latent: int = 42) -> None:
        super().__init__()
        channels, side = input_shape[0], input_shape[1]
        half, double, last = latent // 2, 2 * latent, side // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, half, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, latent, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(latent, double, last),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(double, latent),
        )
        up: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
        self.head = nn.Sequential(
            nn.Linear(latent, double),
            nn.Unflatten(1, (double, 1, 1)),
            nn.ConvTranspose2d(double, latent, last),
            nn.ReLU(),
            nn.ConvTranspose2d(latent, half, **up),
            nn.ReLU(),
            nn.ConvTranspose2d(half, channels, **up),
            nn.Sigmoid(),
        )

    def encode(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, *input_shape]."""
        return cast(Tensor, self.head(self.encode(x)))
