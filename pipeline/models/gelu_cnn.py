"""The convolutional classifier of the paper's third experiment (appendix B.3)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class GELUCNN(nn.Module):
    """Five convolutions, the first, third and fifth with stride 2, and a linear map to the latent.

    Grids have sides that are multiples of 8. bias: of the head; the authors' code has none.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        width: int = 32,
        latent: int = 64,
        bias: bool = True,
    ) -> None:
        super().__init__()
        channels, rows, columns = input_shape
        plan = [(channels, width, 2), (width, width, 1), (width, 2 * width, 2),
                (2 * width, 2 * width, 1), (2 * width, 2 * width, 2)]  # fmt: skip
        layers: list[nn.Module] = []
        for inputs, features, stride in plan:
            layers += [nn.Conv2d(inputs, features, 3, stride=stride, padding=1), nn.GELU()]
        features = 2 * width * (rows // 8) * (columns // 8)
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, latent))
        self.head = nn.Linear(latent, outputs, bias=bias)

    def encode(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))
