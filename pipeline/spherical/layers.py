"""Layers that a rotation of their input rotates (H-(V)AE, section 3): degree by degree.

A signal is a list of tensors, one a degree, each [channels, 2l + 1, batch]: with the channels first
a linear map between them is one matrix product, and with the batch last every other sum and product
runs along memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equigrid.spherical.couplings import Pair, couplings, pairs_to, vanishes
from equigrid.spherical.harmonics import degree_of

Signal = list[Tensor]


class Normalise(nn.Module):
    """Batch normalisation: each channel of each degree by the root of its mean square component.

    Of degree 0, which alone may have a mean, that is taken off first, and a learned one put on;
    the others are multiplied by a learned weight, degree 0 too where `affine`.
    """

    mean: Tensor
    square: Tensor

    def __init__(
        self,
        channels: int,
        degree: int,
        *,
        affine: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.weight = nn.Parameter(torch.ones(degree + affine, channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.ones(degree + 1, channels))

    def forward(self, signal: Signal) -> Signal:
        invariant, rest = signal[0], signal[1:]
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(invariant.mean((1, 2)), self.momentum)
        centre = invariant.mean((1, 2)) if self.training else self.mean
        moved = [invariant - centre[:, None, None], *rest]
        if self.training:
            square = torch.stack([it.square().mean((1, 2)) for it in moved])
            with torch.no_grad():
                self.square.lerp_(square, self.momentum)
        else:
            square = self.square
        scale = (square + self.eps).rsqrt()
        bare = len(scale) - len(self.weight)  # degrees without a weight
        factors = torch.cat([scale[:bare], scale[bare:] * self.weight])
        first, *others = (
            it * factor[:, None, None] for it, factor in zip(moved, factors, strict=True)
        )
        return [first + self.bias[:, None, None], *others]


class Product(nn.Module):
    """The efficient tensor product: each channel with itself, degree by degree.

    paths: of each degree that comes out, the pairs of degrees that it is made of.
    """

    def __init__(self, highest: int, degree: int) -> None:
        """From signals up to degree `highest` to signals up to `degree`."""
        super().__init__()
        self.paths = [pairs_to(each, highest) for each in range(degree + 1)]
        self.used = [
            [n for n, pair in enumerate(paths) if not vanishes(pair, each)]
            for each, paths in enumerate(self.paths)
        ]
        targets: dict[Pair, list[int]] = defaultdict(list)
        for each, used in enumerate(self.used):
            for n in used:
                targets[self.paths[each][n]].append(each)
        self.targets = dict(targets)
        for n, (pair, degrees) in enumerate(self.targets.items()):
            matrix = torch.from_numpy(couplings(pair, degrees)).to(torch.get_default_dtype())
            self.register_buffer(f"coupling_{n}", matrix, persistent=False)

    def forward(self, signal: Signal) -> Signal:
        """[channels, 2l + 1, batch] each → [used paths · channels, 2l + 1, batch] each."""
        found: dict[tuple[Pair, int], Tensor] = {}
        for n, (pair, degrees) in enumerate(self.targets.items()):
            first, second = (signal[each] for each in pair)
            if pair[0] == pair[1]:
                # Both factors have the same gradient, since the couplings are symmetric: one of
                # them, doubled, saves a third of the way back. The value stays the same to the bit.
                second = first.detach()
                first = 2 * first - second
            outer = (first[:, :, None] * second[:, None]).flatten(1, 2)
            coupling = getattr(self, f"coupling_{n}").T.expand(len(outer), -1, -1)
            sizes = [2 * each + 1 for each in degrees]
            for each, part in zip(degrees, (coupling @ outer).split(sizes, 1), strict=True):
                found[pair, each] = part
        return [
            torch.cat([found[self.paths[each][n], each] for n in used])
            for each, used in enumerate(self.used)
        ]


class Block(nn.Module):
    """Normalise → product with itself → by the signal's norm → linear → + what came in.

    The norm is √(Σ_l Σ_c mean_m h²) of a sample. affine: as in the authors' code it is followed by
    a learned weight for each degree and a number that is added to all of degree 0, and `Normalise`
    has a weight of degree 0.
    """

    def __init__(
        self, highest: int, degree: int, channels: int, outputs: int, *, affine: bool = False
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.normalise = Normalise(channels, highest, affine=affine)
        self.product = Product(highest, degree)
        # Also of paths that vanish, as the published totals count them.
        self.weights = nn.ParameterList(
            nn.Parameter(
                torch.randn(outputs, len(paths), channels) / (len(paths) * channels) ** 0.5
            )
            for paths in self.product.paths
        )
        self.factors = nn.Parameter(torch.ones(degree + 1)) if affine else None
        self.bias = nn.Parameter(torch.zeros(1)) if affine else None

    def forward(self, signal: Signal) -> Signal:
        products = self.product(self.normalise(signal))
        power = sum(it.square().mean(1).sum(0) for it in products)  # [batch]
        assert isinstance(power, Tensor)
        scale = (power + 1e-8).rsqrt()
        found = []
        for n, (weight, used) in enumerate(zip(self.weights, self.product.used, strict=True)):
            matrix = weight[:, used].flatten(1)
            mixed = (matrix @ products[n].flatten(1)).view(self.outputs, *products[n].shape[1:])
            mixed = mixed * scale
            if self.factors is not None:
                mixed = mixed * self.factors[n]
            if self.bias is not None and n == 0:
                mixed = mixed + self.bias * matrix.sum(1)[:, None, None]
            if n < len(signal):
                both = min(self.outputs, len(signal[n]))
                mixed = torch.cat([mixed[:both] + signal[n][:both], mixed[both:]])
            found.append(mixed)
        return found


def split(coefficients: Tensor) -> Signal:
    """[batch, channels, (L + 1)²] → a signal."""
    degree = degree_of(coefficients.shape[-1])
    sizes = [2 * each + 1 for each in range(degree + 1)]
    return [it.contiguous() for it in torch.split(coefficients.permute(1, 2, 0), sizes, 1)]


def joined(signal: Sequence[Tensor]) -> Tensor:
    """A signal → [batch, channels, (L + 1)²]."""
    return torch.cat(list(signal), 1).permute(2, 0, 1)


def frame_of(vectors: Tensor) -> Tensor:
    """[2, 3, batch] → an orthonormal, right-handed frame [batch, 3, 3], its axes as rows.

    Gram–Schmidt on the two, the third by the cross product: it turns as they do.
    """
    one, other = vectors.mT
    first = nn.functional.normalize(one, dim=-1, eps=1e-12)
    rest = other - (other * first).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(rest, dim=-1, eps=1e-12)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 1)
