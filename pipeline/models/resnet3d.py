"""The residual network for volumes (paper, C.2)."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

#: Voxels a side that an input may have → its side after upsampling, and whether it is pooled then.
#: The listing takes 28; of 14 the second residual block sees the same 13 without the pooling.
SIDES = {28: (29, True), 14: (15, False)}


class _Residual(nn.Module):
    def __init__(self, block: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.block, self.skip = block, skip

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.block(x) + self.skip(x))


def unit(inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride=stride, padding=padding),
        nn.BatchNorm3d(outputs),
        nn.ELU(),
    )


class ResNet3D(nn.Module):
    """The network of table 5: 141 998 parameters at the defaults with 2 classes, 142 439 with 11.

    Seven convolutions in three residual blocks. Sides 29, 27, 13, 3, 1; the latent is the third
    block's output, flattened. The parameters published (0.19 M) are those of width 7, latent 56.
    Raises ValueError for volumes of another side than 28 or 14.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, width: int = 6, latent: int = 48
    ) -> None:
        super().__init__()
        channels, c = input_shape[0], width
        sides = set(input_shape[1:])
        if len(sides) != 1 or not sides <= SIDES.keys():
            raise ValueError(f"volumes of {input_shape[1:]}; resnet3d takes sides of 28 or 14")
        side, pooled = SIDES[sides.pop()]
        first = _Residual(
            nn.Sequential(unit(channels, c, 7, padding=2), unit(c, 2 * c, 5, padding=2)),
            nn.Conv3d(channels, 2 * c, 7, padding=2),
        )
        second = _Residual(
            nn.Sequential(
                unit(2 * c, 4 * c, 3, stride=2, padding=1),
                nn.AvgPool3d(5, stride=2, padding=1),
                unit(4 * c, 6 * c, 3, stride=2, padding=2),
            ),
            nn.Sequential(nn.AvgPool3d(5, stride=2), nn.Conv3d(2 * c, 6 * c, 3)),
        )
        third = _Residual(
            nn.Sequential(
                unit(6 * c, 6 * c, 3, padding=1),
                nn.AvgPool3d(3, stride=1),
                nn.Conv3d(6 * c, latent, 1),
            ),
            nn.Conv3d(6 * c, latent, 3),
        )
        pool = [nn.AvgPool3d(5, stride=2, padding=1)] if pooled else []
        self.encoder = nn.Sequential(
            nn.Upsample(size=(side, side, side)), first, *pool, second, third, nn.Flatten()
        )
        self.head = nn.Sequential(nn.BatchNorm1d(latent), nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side, side] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side, side] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))
