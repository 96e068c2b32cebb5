"""Layers whose maps are fields: channels that a group moves and mixes at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equigrid.steerable.groups import TRIVIAL, Real, SteeringGroup
from equigrid.steerable.kernels import kernel_basis, regular_part

CONVOLUTIONS = {2: nn.functional.conv2d, 3: nn.functional.conv3d}
#: Of the Gaussian before pixels are dropped, and how many pixels it reaches over.
BLUR, REACH = 0.66, 5


@dataclass(frozen=True)
class FieldType:
    """`copies` fields, each the sum of the representations `names`.

    Channels lie component by component: the first of all fields, then the second of all, …
    """

    group: SteeringGroup
    names: tuple[str, ...]
    copies: int

    @property
    def sizes(self) -> list[int]:
        return [self.group.sizes[name] for name in self.names]

    @property
    def components(self) -> int:
        return sum(self.sizes)

    @property
    def channels(self) -> int:
        return self.components * self.copies

    def invariants(self) -> Real:
        """[components, n]: where the numbers lie that the group leaves as they are.

        A trivial component is one; a regular part has one in all of its components.
        """
        columns, at = [], 0
        for name, size in zip(self.names, self.sizes, strict=True):
            if name in (TRIVIAL, "regular"):
                columns.append((np.arange(self.components) >= at)
                               & (np.arange(self.components) < at + size))  # fmt: skip
            at += size
        return np.array(columns, np.float64).reshape(-1, self.components).T

    def action(self, g: Real) -> Real:
        """[channels, channels]: how an element g mixes the channels of a pixel."""
        mixed = np.kron(self.group.summed(self.names, g), np.eye(self.copies))
        return np.asarray(mixed, np.float64)


def gated_type(group: SteeringGroup, copies: int, names: Sequence[str]) -> FieldType:
    """Sums of the irreducibles `names`, the trivial one first, then a gate for each of them."""
    return FieldType(group, (TRIVIAL, *[TRIVIAL] * len(names), *names[1:]), copies)


def constant(array: NDArray[Any]) -> Tensor:
    """In the precision that new parameters have."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.get_default_dtype())


class Expanding(nn.Module, ABC):
    """A convolution whose filter is made of weights at each step, and kept in evaluation.

    weights: [out copies, in copies, columns]; a column is a function of the filter's pixels.
    """

    weights: nn.Parameter

    def __init__(
        self, into: FieldType, out: FieldType, size: int, stride: int, padding: int, bias: bool
    ) -> None:
        super().__init__()
        self.into, self.out, self.size = into, out, size
        self.stride, self.padding = stride, padding
        self.register_buffer("invariants", constant(out.invariants()), persistent=False)
        self.invariants: Tensor
        free = torch.zeros(self.invariants.shape[1], out.copies)
        self.bias = nn.Parameter(free) if bias and free.numel() else None
        self.kept: tuple[object, Tensor, Tensor | None] | None = None

    @abstractmethod
    def filter(self) -> Tensor:
        """[out channels, in channels, *size]"""

    def full_bias(self) -> Tensor | None:
        """[out channels]: only what the group leaves as it is may have one."""
        return None if self.bias is None else (self.invariants @ self.bias).flatten()

    def sources(self) -> list[Tensor]:
        """What the filter is made of."""
        return list(self.parameters())

    def expanded(self) -> tuple[Tensor, Tensor | None]:
        if self.training or torch.is_grad_enabled():
            return self.filter(), self.full_bias()
        now = tuple((it.data_ptr(), it._version, it.dtype) for it in self.sources())
        if self.kept is None or self.kept[0] != now:
            self.kept = (now, self.filter(), self.full_bias())
        return self.kept[1], self.kept[2]

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in channels, *grid] → [batch, out channels, *grid]."""
        with torch.autocast(x.device.type, enabled=False):  # filters are made in full
            kernel, bias = self.expanded()
        convolve = CONVOLUTIONS[self.into.group.dimension]
        found: Tensor = convolve(x, kernel, bias, stride=self.stride, padding=self.padding)
        return found

    def shaped(self, filters: Tensor) -> Tensor:
        """[out components, out copies, in components, in copies, pixels] → a convolution's."""
        grid = [self.size] * self.into.group.dimension
        return filters.reshape(self.out.channels, self.into.channels, *grid)


def drawn(into: FieldType, out: FieldType, columns: dict[tuple[int, int], int]) -> Tensor:
    """Weights [out copies, in copies, columns] with which outputs have a variance of 1.

    columns: how many each pair (place of ρ_out, place of ρ_in) has, in their order. N(0, 1 / (kinds
    of inputs that reach this output × weights of that kind)) (Weiler and Cesa, arXiv 1911.08251).
    """
    scales = []
    for (o, i), count in columns.items():
        reaching = {into.names[b] for (a, b), some in columns.items() if a == o and some}
        alike = into.names.count(into.names[i])
        scale = 1 / math.sqrt(max(1, len(reaching) * alike * into.copies * count))
        scales.append(torch.full((count,), scale))
    flat = torch.cat(scales)
    return flat * torch.randn(out.copies, into.copies, len(flat))


class SteerableConvolution(Expanding):
    """A convolution that commutes with the group: weights times a constant basis of kernels."""

    def __init__(
        self, into: FieldType, out: FieldType, size: int, *,
        stride: int = 1, padding: int = 0, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(into, out, size, stride, padding, bias)
        group, columns, parts = into.group, {}, []
        tops, lefts = np.cumsum([0, *out.sizes]), np.cumsum([0, *into.sizes])
        for o, a in enumerate(out.names):
            for i, b in enumerate(into.names):
                kernels = kernel_basis(group, a, b, size)
                whole = np.zeros((len(kernels), out.components, into.components, kernels.shape[3]))
                whole[:, tops[o] : tops[o + 1], lefts[i] : lefts[i + 1]] = kernels
                columns[o, i] = len(kernels)
                parts.append(whole)
        # Flat: torch gives tensors of four and five axes the order of channels that images have.
        basis = np.concatenate(parts)
        flat = basis.reshape(len(basis), math.prod(basis.shape[1:]))
        self.register_buffer("basis", constant(flat), persistent=False)
        self.basis: Tensor
        self.weights = nn.Parameter(drawn(into, out, columns))

    def filter(self) -> Tensor:
        n_out, n_in, _ = self.weights.shape
        shape = (n_out, n_in, self.out.components, self.into.components, -1)
        return self.shaped((self.weights @ self.basis).view(shape).permute(2, 0, 3, 1, 4))


class FieldNorm(nn.Module):
    """One variance and one scale a field; means and shifts of what is invariant only.

    A field's variance is the mean over its components of their own. Batch statistics are constants
    to the gradient.
    """

    def __init__(self, of: FieldType, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.components, self.momentum, self.eps = of.components, momentum, eps
        spread = of.invariants()
        self.register_buffer("spread", constant(spread), persistent=False)
        self.register_buffer("gather", constant(np.linalg.pinv(spread)), persistent=False)
        self.spread: Tensor
        self.gather: Tensor
        self.scale = nn.Parameter(torch.ones(of.copies))
        self.shift = nn.Parameter(torch.zeros(spread.shape[1], of.copies))
        self.register_buffer("running_mean", torch.zeros_like(self.shift.data))
        self.register_buffer("running_variance", torch.ones(of.copies))
        self.running_mean: Tensor
        self.running_variance: Tensor

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # statistics are in full
            return self._normalised(x.float() if x.dtype == torch.bfloat16 else x)

    def _normalised(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_variance
        if self.training:
            with torch.no_grad():
                each, means = torch.var_mean(x, [0, *range(2, x.ndim)])
                variance = each.view(self.components, -1).mean(0)
                mean = self.gather @ means.view(self.components, -1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_variance.lerp_(variance, self.momentum)
        factor = self.scale * torch.rsqrt(variance + self.eps)
        offset = self.spread @ (self.shift - mean * factor)
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return torch.addcmul(offset.view(shape), x, factor.repeat(self.components).view(shape))


class ComponentNorm(nn.Module):
    """Batch normalisation over all components of a field: one mean, variance, scale and shift each.

    For regular fields of the plane, whose components a group only permutes: it commutes with that.
    Other than FieldNorm's, its statistics have a gradient.
    """

    def __init__(self, of: FieldType) -> None:
        super().__init__()
        if of.names != ("regular",) or of.group.dimension != 2:
            raise ValueError(f"fields {'+'.join(of.names)} of {of.group.name}: allowed: regular")
        self.components = of.components
        self.norm = nn.BatchNorm3d(of.copies)

    def forward(self, x: Tensor) -> Tensor:
        fields = x.reshape(len(x), self.components, -1, *x.shape[2:]).transpose(1, 2)
        found: Tensor = self.norm(fields)
        return found.transpose(1, 2).flatten(1, 2)


class Gate(nn.Module):
    """Each irreducible of a field times the sigmoid of an invariant channel of its own, less b."""

    def __init__(self, group: SteeringGroup, copies: int, names: Sequence[str]) -> None:
        super().__init__()
        self.copies, self.kinds = copies, len(names)
        sizes = [group.sizes[name] for name in names]
        kind = torch.arange(self.kinds).repeat_interleave(torch.tensor(sizes))
        self.register_buffer("kind", kind, persistent=False)
        self.kind: Tensor
        self.bias = nn.Parameter(torch.randn(self.kinds, copies))

    def forward(self, x: Tensor) -> Tensor:
        """A gated_type → its fields without the gates."""
        n, kinds = self.copies, self.kinds
        bias = self.bias.view(1, -1, *[1] * (x.ndim - 2))
        gates = torch.sigmoid(x[:, n : n * (1 + kinds)] - bias)
        if kinds == 1:
            return x[:, :n] * gates
        fields = torch.cat([x[:, :n], x[:, n * (1 + kinds) :]], 1)
        each = gates.reshape(len(x), kinds, n, *x.shape[2:])[:, self.kind]
        return fields * each.flatten(1, 2)


class RegularReLU(nn.Module):
    """ReLU where the group permutes components: a sum of irreducibles → regular, and back."""

    def __init__(self, of: FieldType) -> None:
        super().__init__()
        basis = np.concatenate([regular_part(of.group, name) for name in of.names], 1)
        self.register_buffer("basis", constant(basis), persistent=False)
        self.basis: Tensor
        self.copies = of.copies

    def forward(self, x: Tensor) -> Tensor:
        fields = x.reshape(len(x), -1, self.copies, *x.shape[2:])
        regular = torch.einsum("rc,bcn...->brn...", self.basis, fields).relu()
        return torch.einsum("rc,brn...->bcn...", self.basis, regular).flatten(1, 2)


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
