"""Layers whose maps are fields: channels that a group moves and mixes at once.

Channels lie block by block: of each representation all its copies, one after the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.steerable.groups import TRIVIAL, Real, SteeringGroup
from pipeline.steerable.kernels import kernel_basis, regular_part

CONVOLUTIONS = {2: nn.functional.conv2d, 3: nn.functional.conv3d}
#: Representations whose channels' mean is invariant.
INVARIANT = (TRIVIAL, "regular")
#: Of the Gaussian before pixels are dropped, and how many pixels it reaches over.
BLUR, REACH = 0.66, 5


@dataclass(frozen=True)
class FieldType:
    """blocks: (representation, copies), in the order of the channels."""

    group: SteeringGroup
    blocks: tuple[tuple[str, int], ...]

    @property
    def channels(self) -> int:
        return sum(self.group.sizes[name] * copies for name, copies in self.blocks)

    @property
    def invariants(self) -> int:
        """Numbers that the group leaves as they are: one a trivial or a regular copy."""
        return sum(copies for name, copies in self.blocks if name in INVARIANT)

    def action(self, g: Real) -> Real:
        """[channels, channels]: how an element g mixes the channels of a pixel."""
        found, at = np.zeros((self.channels, self.channels)), 0
        for name, copies in self.blocks:
            block = np.kron(np.eye(copies), self.group.representations[name](g))
            found[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        return found

    def invariant_of_channel(self) -> Tensor:
        """[channels] which invariant number a channel shares in, `invariants` where none."""
        found, at = [], 0
        for name, copies in self.blocks:
            here = torch.full((copies,), self.invariants)
            if name in INVARIANT:
                here = torch.arange(at, at + copies)
                at += copies
            found.append(here.repeat_interleave(self.group.sizes[name]))
        return torch.cat(found)


def spread(values: Tensor, invariant_of_channel: Tensor) -> Tensor:
    """[invariants] → [channels], 0 where a channel shares in none."""
    return nn.functional.pad(values, (0, 1))[invariant_of_channel]


def gated_type(group: SteeringGroup, fields: int, names: Sequence[str]) -> FieldType:
    """`fields` sums of the irreducibles `names` (trivial first), with a gate for each of them."""
    first = (TRIVIAL, fields * (1 + len(names)))
    return FieldType(group, (first, *((name, fields) for name in names[1:])))


def plain_type(group: SteeringGroup, fields: int, names: Sequence[str]) -> FieldType:
    """What Gate makes of a gated_type."""
    return FieldType(group, tuple((name, fields) for name in names))


class Expanding(nn.Module):
    """A convolution whose filter is made of weights at each step, and kept in evaluation."""

    def __init__(
        self, into: FieldType, out: FieldType, size: int, stride: int, padding: int, bias: bool
    ) -> None:
        super().__init__()
        self.into, self.out, self.size = into, out, size
        self.stride, self.padding = stride, padding
        self.weights = nn.ParameterList()
        self.bias = nn.Parameter(torch.zeros(out.invariants)) if bias else None
        self.register_buffer("invariant_of", out.invariant_of_channel(), persistent=False)
        self.invariant_of: Tensor
        self.kept: tuple[object, Tensor, Tensor | None] | None = None

    def filter(self) -> Tensor:
        """[out channels, in channels, *size]"""
        raise NotImplementedError

    def sources(self) -> list[Tensor]:
        """What the filter is made of."""
        return list(self.parameters())

    def full_bias(self) -> Tensor | None:
        """[out channels]: only what the group leaves as it is may have one."""
        return None if self.bias is None else spread(self.bias, self.invariant_of)

    def expanded(self) -> tuple[Tensor, Tensor | None]:
        if self.training or torch.is_grad_enabled():
            return self.filter(), self.full_bias()
        now = tuple((it.data_ptr(), it._version, it.dtype) for it in self.sources())
        if self.kept is None or self.kept[0] != now:
            self.kept = (now, self.filter(), self.full_bias())
        return self.kept[1], self.kept[2]

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in channels, *grid] → [batch, out channels, *grid]."""
        kernel, bias = self.expanded()
        convolve = CONVOLUTIONS[self.into.group.dimension]
        found: Tensor = convolve(x, kernel, bias, stride=self.stride, padding=self.padding)
        return found

    def assemble(self, parts: dict[tuple[int, int], Tensor]) -> Tensor:
        """One filter of the parts [n_out, d_out, n_in, d_in, pixels] of pairs of blocks."""
        shape = [self.size] * self.into.group.dimension
        rows, sizes = [], self.into.group.sizes
        some = next(iter(parts.values()))
        for o, (out, n_out) in enumerate(self.out.blocks):
            row = []
            for i, (into, n_in) in enumerate(self.into.blocks):
                height, width = n_out * sizes[out], n_in * sizes[into]
                part = parts.get((o, i))
                row.append(
                    some.new_zeros(height, width, *shape)
                    if part is None
                    else part.reshape(height, width, *shape)
                )
            rows.append(torch.cat(row, 1))
        return torch.cat(rows, 0)


def drawn(shapes: dict[tuple[int, int], tuple[int, int, int]]) -> dict[tuple[int, int], Tensor]:
    """Weights [n_out, n_in, basis] by pair (out, in), so that each output has a variance of 1.

    N(0, 1 / (kinds of inputs that reach this output × weights of that kind)) (Weiler and Cesa,
    arXiv 1911.08251).
    """
    kinds = {o: sum(1 for out, _ in shapes if out == o) for o, _ in shapes}
    return {
        (o, i): torch.randn(*shape) / math.sqrt(kinds[o] * shape[1] * shape[2])
        for (o, i), shape in shapes.items()
    }


class SteerableConvolution(Expanding):
    """A convolution that commutes with the group: weights times a constant basis of kernels."""

    def __init__(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(into, out, size, stride, padding, bias)
        shapes: dict[tuple[int, int], tuple[int, int, int]] = {}
        for (o, (a, n_out)), (i, (b, n_in)) in itertools.product(
            enumerate(out.blocks), enumerate(into.blocks)
        ):
            basis = kernel_basis(into.group, a, b, size)
            if len(basis):
                shapes[o, i] = (n_out, n_in, len(basis))
                flat = torch.from_numpy(basis.reshape(len(basis), -1)).to(torch.get_default_dtype())
                self.register_buffer(f"basis_{o}_{i}", flat, persistent=False)
        self.pairs = list(shapes)
        self.weights.extend(nn.Parameter(it) for it in drawn(shapes).values())

    def filter(self) -> Tensor:
        sizes, parts = self.into.group.sizes, {}
        for (o, i), weight in zip(self.pairs, self.weights, strict=True):
            d_out, d_in = sizes[self.out.blocks[o][0]], sizes[self.into.blocks[i][0]]
            flat = weight @ self.get_buffer(f"basis_{o}_{i}")
            parts[o, i] = flat.unflatten(2, (d_out, d_in, -1)).permute(0, 2, 1, 3, 4)
        return self.assemble(parts)


class FieldNorm(nn.Module):
    """One variance and one scale a field; means and shifts of what is invariant only.

    A field's variance is the mean over its channels of their own. Batch statistics are constants
    to the gradient. fields: how many there are in `of`, each block a multiple of it.
    """

    def __init__(self, of: FieldType, fields: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        owner = [
            torch.arange(copies).remainder(fields).repeat_interleave(of.group.sizes[name])
            for name, copies in of.blocks
        ]
        self.register_buffer("owner", torch.cat(owner), persistent=False)
        self.owner: Tensor
        self.register_buffer("invariant_of", of.invariant_of_channel(), persistent=False)
        self.invariant_of: Tensor
        self.momentum, self.eps, self.per_field = momentum, eps, of.channels // fields
        sharing = torch.bincount(self.invariant_of, minlength=of.invariants + 1)
        self.register_buffer("sharing", sharing[: of.invariants], persistent=False)
        self.sharing: Tensor
        self.scale = nn.Parameter(torch.ones(fields))
        self.shift = nn.Parameter(torch.zeros(of.invariants))
        self.register_buffer("running_mean", torch.zeros(of.invariants))
        self.register_buffer("running_variance", torch.ones(fields))
        self.running_mean: Tensor
        self.running_variance: Tensor

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_variance
        if self.training:
            with torch.no_grad():
                each, means = torch.var_mean(x, [0, *range(2, x.ndim)])
                variance = torch.zeros_like(variance).index_add(0, self.owner, each)
                variance = variance / self.per_field
                sums = means.new_zeros(len(mean) + 1).index_add(0, self.invariant_of, means)
                mean = sums[:-1] / self.sharing
                self.running_mean.lerp_(mean, self.momentum)
                self.running_variance.lerp_(variance, self.momentum)
        factor = (self.scale * torch.rsqrt(variance + self.eps))[self.owner]
        offset = spread(self.shift, self.invariant_of) - factor * spread(mean, self.invariant_of)
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return torch.addcmul(offset.view(shape), x, factor.view(shape))


class Gate(nn.Module):
    """Each irreducible of a field times the sigmoid of an invariant channel of its own, less b."""

    def __init__(self, group: SteeringGroup, fields: int, names: Sequence[str]) -> None:
        super().__init__()
        self.fields, self.sizes = fields, [group.sizes[name] for name in names]
        self.bias = nn.Parameter(torch.randn(fields * len(names)))

    def forward(self, x: Tensor) -> Tensor:
        """A gated_type → the plain_type of the same fields."""
        n, kinds = self.fields, len(self.sizes)
        flat = self.bias.view(1, -1, *[1] * (x.ndim - 2))
        gates = torch.sigmoid(x[:, n : n * (1 + kinds)] - flat)
        found, at = [x[:, :n] * gates[:, :n]], n * (1 + kinds)
        for kind, size in enumerate(self.sizes[1:], 1):
            part = x[:, at : at + n * size].reshape(len(x), n, size, *x.shape[2:])
            gate = gates[:, kind * n : (kind + 1) * n].unsqueeze(2)
            found.append((part * gate).flatten(1, 2))
            at += n * size
        return torch.cat(found, 1) if kinds > 1 else found[0]


class RegularReLU(nn.Module):
    """ReLU where the group permutes channels: irreducibles → a regular copy a field, and back."""

    def __init__(self, of: FieldType, fields: int) -> None:
        super().__init__()
        group = of.group
        basis = np.concatenate([regular_part(group, name) for name, _ in of.blocks], 1)
        flat = torch.from_numpy(basis).to(torch.get_default_dtype())
        self.register_buffer("basis", flat, persistent=False)
        self.basis: Tensor
        self.fields, self.sizes = fields, [group.sizes[name] for name, _ in of.blocks]

    def forward(self, x: Tensor) -> Tensor:
        n, grid = self.fields, x.shape[2:]
        parts, at = [], 0
        for size in self.sizes:
            parts.append(x[:, at : at + n * size].reshape(len(x), n, size, *grid))
            at += n * size
        regular = torch.einsum("rc,bfc...->bfr...", self.basis, torch.cat(parts, 2)).relu()
        back = torch.einsum("rc,bfr...->bfc...", self.basis, regular)
        ends = np.cumsum(self.sizes)
        pieces = [back[:, :, end - size : end] for size, end in zip(self.sizes, ends, strict=True)]
        return torch.cat([it.flatten(1, 2) for it in pieces], 1)


class Disc(nn.Module):
    """1 within the disc that a turn keeps in the picture, less 1 % of its radius; falling outside.

    Outside, e^((t − r²) / σ²) with σ = 2 and t the squared radius of that disc.
    """

    def __init__(self, side: int, margin: float = 0.01, sigma: float = 2.0) -> None:
        super().__init__()
        line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        squares = line[:, None] ** 2 + line[None] ** 2
        limit = ((side - 1) / 2 * (1 - margin)) ** 2
        weight = torch.where(squares > limit, torch.exp((limit - squares) / sigma**2), 1.0)
        self.register_buffer("weight", weight.to(torch.get_default_dtype()), persistent=False)
        self.weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class AntialiasedPool(nn.Module):
    """A Gaussian mean over REACH pixels a side of each channel, then every stride-th pixel."""

    def __init__(self, dimension: int, stride: int, padding: int) -> None:
        super().__init__()
        line = torch.arange(REACH, dtype=torch.float64) - (REACH - 1) / 2
        kernel = torch.exp(-(line**2) / (2 * BLUR**2))
        for _ in range(dimension - 1):
            kernel = kernel[..., None] * torch.exp(-(line**2) / (2 * BLUR**2))
        kernel = (kernel / kernel.sum()).to(torch.get_default_dtype())
        self.register_buffer("kernel", kernel, persistent=False)
        self.kernel: Tensor
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        each = self.kernel.expand(x.shape[1], 1, *self.kernel.shape)
        convolve = CONVOLUTIONS[self.kernel.ndim]
        found: Tensor = convolve(
            x, each, stride=self.stride, padding=self.padding, groups=x.shape[1]
        )
        return found
