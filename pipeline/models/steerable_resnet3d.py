"""The residual network for volumes made steerable: SCNN, RPP and PSCNN of table 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from equigrid.models.likelihoods import LearnsLikelihoods
from equigrid.models.resnet3d import SIDES, unit
from equigrid.parameters import Later
from equigrid.steerable import (
    AntialiasedPool,
    FieldNorm,
    FieldType,
    Gate,
    Likelihood,
    PartialConvolution,
    SteerableConvolution,
    gated_type,
    rotations_of_space,
    squares,
)

#: Fields of the five hidden convolutions in units of the width, and their highest degree.
FIELDS, DEGREES = (1, 2, 4, 6, 6), (2, 3, 3, 3, 2)


class SteerableResNet3D(nn.Module):
    """The residual network's plan with fields of SO(3) or O(3) for channels.

    group: `SO(3)`, of degrees up to 3, or `O(3)`, up to 2 of both parities. Sides 29, 27, 13, 3, 1.
    The latent are `latent` invariant channels. At the defaults with 2 classes 128 450 (SO(3)) and
    192 800 (O(3)) parameters. Raises ValueError for volumes of another side than 28 or 14.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: str = "SO(3)", width: int = 6, latent: int = 48,
    ) -> None:  # fmt: skip
        super().__init__()
        sides = set(input_shape[1:])
        if len(sides) != 1 or not sides <= SIDES.keys():
            raise ValueError(f"volumes of {input_shape[1:]}: sides of 28 or 14 are taken")
        side, pooled = SIDES[sides.pop()]
        self.steering = rotations_of_space(group == "O(3)")
        self.fields = [width * fields for fields in FIELDS]
        first = FieldType(self.steering, ("trivial",), input_shape[0])
        last = FieldType(self.steering, ("trivial",), latent)
        self.resize = nn.Upsample(size=(side, side, side), mode="trilinear", align_corners=False)
        self.pool = AntialiasedPool(3, 2, 1) if pooled else nn.Identity()
        self.convolution_1 = self.convolution("", first, self.gated(0), 7, padding=2)
        self.convolution_2 = self.convolution("1", self.plain(0), self.gated(1), 5, padding=2)
        self.skip_1 = self.convolution("1", first, self.gated(1), 7, padding=2)
        self.convolution_3 = self.convolution(
            "", self.plain(1), self.gated(2), 3, stride=2, padding=1
        )
        self.convolution_4 = self.convolution(
            "2", self.plain(2), self.gated(3), 3, stride=2, padding=2
        )
        self.skip_2 = self.convolution("2", self.plain(1), self.gated(3), 3)
        self.convolution_5 = self.convolution("", self.plain(3), self.gated(4), 3, padding=1)
        self.convolution_6 = self.convolution("3", self.plain(4), last, 1, bias=False)
        self.skip_3 = self.convolution("3", self.plain(3), last, 3)
        self.norms = nn.ModuleList(FieldNorm(self.gated(n)) for n in range(5))
        self.gates = nn.ModuleList(
            Gate(self.steering, self.fields[n], self.names(n)) for n in range(5)
        )
        self.pool_main, self.pool_skip = AntialiasedPool(3, 2, 1), AntialiasedPool(3, 2, 0)
        self.pool_last = AntialiasedPool(3, 1, 1)
        self.head = nn.Sequential(nn.BatchNorm1d(latent), nn.ELU(), nn.Linear(latent, outputs))

    def names(self, block: int) -> Sequence[str]:
        most = 2 * DEGREES[block] + 1
        return [it for it in self.steering.irreducibles if self.steering.sizes[it] <= most]

    def gated(self, block: int) -> FieldType:
        return gated_type(self.steering, self.fields[block], self.names(block))

    def plain(self, block: int) -> FieldType:
        return FieldType(self.steering, tuple(self.names(block)), self.fields[block])

    def convolution(
        self, pair: str, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> nn.Module:  # fmt: skip
        """pair: the last convolution of a residual block and its skip have the block's number."""
        return SteerableConvolution(into, out, size, stride=stride, padding=padding, bias=bias)

    def _unit(self, n: int, x: Tensor) -> Tensor:
        found = getattr(self, f"convolution_{n}")(x)
        return cast(Tensor, self.gates[n - 1](self.norms[n - 1](found)))

    def blocks(self, number: int, x: Tensor) -> Tensor:
        """One of the three residual blocks; skips 1 and 2 share the gate of the main path."""
        if number == 1:
            main = self._unit(2, self._unit(1, x))
            return main + cast(Tensor, self.gates[1](self.skip_1(x)))
        if number == 2:
            main = self._unit(4, self.pool_main(self._unit(3, x)))
            return main + cast(Tensor, self.gates[3](self.skip_2(self.pool_skip(x))))
        main = self.convolution_6(self.pool_last(self._unit(5, x)))
        return cast(Tensor, main + self.skip_3(x))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side, side] → [batch, latent]."""
        x = self.pool(self.blocks(1, self.resize(x)))
        return self.blocks(3, self.blocks(2, x)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side, side] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))


class _PlainBlocks(nn.Module):
    """The three residual blocks with free convolutions, as wide as the steerable ones.

    released: box means in place of the steerable blocks' pools, and an ELU behind skips 1 and 2.
    """

    def __init__(self, into: int, widths: Sequence[int], latent: int, released: bool) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.released = released
        pools: tuple[nn.Module, ...]
        if released:
            pools = nn.AvgPool3d(5, 2, 1), nn.AvgPool3d(5, 2, 0), nn.AvgPool3d(3, 1, 0)
        else:
            pools = AntialiasedPool(3, 2, 1), AntialiasedPool(3, 2, 0), AntialiasedPool(3, 1, 1)
        pool_main, pool_skip, pool_last = pools
        self.mains = nn.ModuleList([
            nn.Sequential(unit(into, a, 7, padding=2), unit(a, b, 5, padding=2)),
            nn.Sequential(
                unit(b, c, 3, stride=2, padding=1), pool_main,
                unit(c, d, 3, stride=2, padding=2),
            ),
            nn.Sequential(unit(d, e, 3, padding=1), pool_last, nn.Conv3d(e, latent, 1)),
        ])  # fmt: skip
        self.skips = nn.ModuleList([
            nn.Conv3d(into, b, 7, padding=2),
            nn.Sequential(pool_skip, nn.Conv3d(b, d, 3)),
            nn.Conv3d(d, latent, 3),
        ])  # fmt: skip

    def forward(self, number: int, x: Tensor) -> Tensor:
        skip = self.skips[number - 1](x)
        if self.released and number < 3:
            skip = nn.functional.elu(skip)
        return cast(Tensor, self.mains[number - 1](x) + skip)


class ResidualPathwayResNet3D(SteerableResNet3D):
    """RPP: each residual block is a steerable and a free one, added; both have their penalty.

    blocks: `released`, as in the authors' code: the free blocks have box means for pools, and an
    ELU behind the skips of blocks 1 and 2; the penalties count norms and gates beside convolutions.
    `antialiased`: pools as in the steerable blocks, no such ELU, penalties of convolutions only.
    At the defaults with 2 classes 18 263 786 (SO(3)) and 29 292 200 (O(3)) parameters, either way.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: str = "SO(3)", width: int = 6, latent: int = 48,
        steerable_penalty: float = 1e-5, free_penalty: float = 1e-3,
        blocks: Annotated[Literal["antialiased", "released"], Later()] = "antialiased",
    ) -> None:  # fmt: skip
        super().__init__(input_shape, outputs, group=group, width=width, latent=latent)
        self.weights = {"steerable": steerable_penalty, "free": free_penalty}
        widths = [self.plain(n).channels for n in range(5)]
        self.free = _PlainBlocks(input_shape[0], widths, latent, blocks == "released")

    def blocks(self, number: int, x: Tensor) -> Tensor:
        return super().blocks(number, x) + cast(Tensor, self.free(number, x))

    def penalties(self) -> dict[str, tuple[float, Tensor]]:
        """Σw² of the steerable and of the free blocks' convolutions; released, of all they have."""
        kinds: dict[str, tuple[type[nn.Module], ...]]
        kinds = {"steerable": (SteerableConvolution,), "free": (nn.Conv3d,)}
        if self.free.released:
            kinds = {
                "steerable": (SteerableConvolution, FieldNorm, Gate),
                "free": (nn.Conv3d, nn.BatchNorm3d),
            }
        found = {name: [it for it in self.modules() if isinstance(it, kind)]
                 for name, kind in kinds.items()}  # fmt: skip
        return {
            f"{name}_squares": (self.weights[name], torch.stack(list(map(squares, each))).sum())
            for name, each in found.items()
        }


class PartiallySteerableResNet3D(SteerableResNet3D, LearnsLikelihoods):
    """PSCNN: the convolutions that end a block or skip it learn how equivariant they are.

    One likelihood a block. At the defaults with 2 classes 4 166 339 parameters (SO(3)), of which
    repeated columns are 2 572 704, and 3 511 682 (O(3), which repeats none).
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: str = "SO(3)", width: int = 6, latent: int = 48, repeated_columns: bool = True,
        alignment_penalty: float = 5.0, change_penalty: float = 1.0, uniform_penalty: float = 1.0,
    ) -> None:  # fmt: skip
        self.repeated_columns = repeated_columns
        self.shared = {pair: Likelihood(rotations_of_space(group == "O(3)")) for pair in "123"}
        super().__init__(input_shape, outputs, group=group, width=width, latent=latent)
        self.likelihoods = nn.ModuleList(self.shared.values())
        self.weights = (alignment_penalty, change_penalty, uniform_penalty)
        self.remember()

    def convolution(
        self, pair: str, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> nn.Module:  # fmt: skip
        if not pair:
            return super().convolution(
                pair, into, out, size, stride=stride, padding=padding, bias=bias
            )
        return PartialConvolution(
            into, out, size, self.shared[pair], stride=stride, padding=padding, bias=bias,
            repeated_columns=self.repeated_columns,
        )  # fmt: skip
