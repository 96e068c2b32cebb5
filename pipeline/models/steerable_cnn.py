"""The double-digit CNN made steerable: SCNN, Restriction, RPP and PSCNN of table 4."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from equigrid.models.likelihoods import LearnsLikelihoods
from equigrid.steerable import (
    AntialiasedPool,
    Disc,
    FieldNorm,
    FieldType,
    Gate,
    Likelihood,
    PartialConvolution,
    ResidualPathway,
    SteerableConvolution,
    gated_type,
    squares,
    steering_group,
)
from equigrid.symmetry import FiniteGroup, cyclic

SIDE = 57
#: Of the five blocks: fields in units of the width, kernel, stride, padding, and the pool's stride.
BLOCKS = ((1, 7, 1, 2, 0), (2, 5, 1, 2, 2), (4, 3, 2, 2, 2), (6, 3, 2, 0, 0), (6, 3, 1, 1, 1))


class SteerableCNN(nn.Module):
    """The CNN's plan with fields for channels; the group acts on the whole image.

    Sizes 57, 55, 55, 27, 15, 7, 3, 3, 1. A hidden field is a sum of the irreducibles, each once (of
    D1 the trivial one alone). The latent are `latent` invariant channels.
    group: of the dataset; of a product of one with itself, that one. restrict_after: the block
    after which the group is forgotten (Weiler and Cesa, arXiv 1911.08251), 0 for never.
    With 100 classes at the defaults 116 632 (C4), 28 132 (D1), 145 636 (D4) parameters.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 6, latent: int = 48, restrict_after: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        steering = steering_group(group)
        names = steering.irreducibles if len(steering.irreducibles) > 2 else ["trivial"]
        layers: list[nn.Module] = [
            nn.Upsample(size=(SIDE, SIDE), mode="bilinear", align_corners=False), Disc(SIDE)
        ]  # fmt: skip
        into = FieldType(steering, ("trivial",), input_shape[0])
        for number, (fields, size, stride, padding, pool) in enumerate(BLOCKS, 1):
            if number == restrict_after + 1 and restrict_after:
                steering, names = steering_group(cyclic(1)), ["trivial"]
                into = FieldType(steering, ("trivial",), into.channels)
            count = fields * width
            gated = gated_type(steering, count, names)
            layers += [
                self.convolution(into, gated, size, stride=stride, padding=padding),
                FieldNorm(gated),
                Gate(steering, count, names),
            ]
            into = FieldType(steering, tuple(names), count)
            if pool:
                layers.append(AntialiasedPool(2, pool, 1))
        last = FieldType(steering, ("trivial",), latent)
        layers += [self.convolution(into, last, 1, bias=False), nn.Flatten()]
        self.encoder = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.BatchNorm1d(latent), nn.ELU(), nn.Linear(latent, outputs))

    def convolution(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> nn.Module:  # fmt: skip
        return SteerableConvolution(into, out, size, stride=stride, padding=padding, bias=bias)

    def encode(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side] → [batch, latent]."""
        return cast(Tensor, self.encoder(x))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, side, side] → [batch, outputs]."""
        return cast(Tensor, self.head(self.encode(x)))


class ResidualPathwayCNN(SteerableCNN):
    """RPP: beside each steerable convolution a free one, both kept small by penalties on Σw²."""

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 6, latent: int = 48,
        steerable_penalty: float = 1e-5, free_penalty: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__(input_shape, outputs, group=group, width=width, latent=latent)
        self.weights = {"steerable": steerable_penalty, "free": free_penalty}

    def convolution(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> nn.Module:  # fmt: skip
        return ResidualPathway(into, out, size, stride=stride, padding=padding, bias=bias)

    def penalties(self) -> dict[str, tuple[float, Tensor]]:
        """Σw² of the steerable and of the free filters, in weights of their basis."""
        paths = [it for it in self.modules() if isinstance(it, ResidualPathway)]
        return {
            f"{name}_squares": (
                weight, torch.stack([squares(path.get_submodule(name)) for path in paths]).sum()
            )
            for name, weight in self.weights.items()
        }  # fmt: skip


class PartiallySteerableCNN(SteerableCNN, LearnsLikelihoods):
    """PSCNN: each convolution is averaged over the group by a likelihood that it learns.

    repeated_columns: as the published counts have it, see PartialConvolution.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 6, latent: int = 48, repeated_columns: bool = True,
        alignment_penalty: float = 5.0, change_penalty: float = 3.0, uniform_penalty: float = 3.0,
    ) -> None:  # fmt: skip
        self.repeated_columns = repeated_columns
        super().__init__(input_shape, outputs, group=group, width=width, latent=latent)
        convolutions = [it for it in self.modules() if isinstance(it, PartialConvolution)]
        self.likelihoods = nn.ModuleList(it.likelihood for it in convolutions)
        self.weights = (alignment_penalty, change_penalty, uniform_penalty)
        self.remember()

    def convolution(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> nn.Module:  # fmt: skip
        return PartialConvolution(
            into, out, size, Likelihood(into.group), stride=stride, padding=padding, bias=bias,
            repeated_columns=self.repeated_columns,
        )  # fmt: skip
