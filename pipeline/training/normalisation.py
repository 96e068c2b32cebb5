"""Batch normalisation with right sums, in the memory layout that trains fastest on a CPU.

torch 2.13 adds up a batch in channels-last layout one number after the other in single precision:
of 256×12×55×55 numbers (mean 1, std 2) its output is off by 1e-3, its running variance by 1.5e-4
and a weight's gradient by 5e-4; in contiguous layout by 5e-7. Here sums are taken of pieces that
fit into a processor's cache, and the pieces' sums are added in double precision.

What a convolution in bf16 gives is normalised in single precision, in which it stays, where it has
few channels or few rows: torch's own normalisation and pooling are slower in bf16 there. Of many
torch normalises in bf16, whose rounding (4e-3) is larger than what its sums are off by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

#: Numbers in a piece: its copy stays in the cache. Rows that are added side by side in it.
PIECE, SIDE_BY_SIDE = 2**17, 64
#: Rows that torch itself adds up well enough (to 4e-6), and faster.
FEW = 4096
#: Channels from which torch's own normalisation is faster in bf16.
WIDE_IN_BF16 = 64
#: Rows whose mean is near enough to that of all to be taken off before squaring.
SAMPLE = 256


def _rows(x: Tensor) -> Tensor:
    """[batch, channels, *grid] in channels-last layout → [rows, channels], the same memory."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _sum(rows: Tensor) -> Tensor:
    """Σ over the rows of a piece, [channels] in double precision."""
    whole = len(rows) - len(rows) % SIDE_BY_SIDE
    if not whole:
        return rows.sum(0, dtype=torch.float64)
    together = rows[:whole].view(whole // SIDE_BY_SIDE, -1).sum(0).view(SIDE_BY_SIDE, -1)
    total = together.sum(0, dtype=torch.float64)
    return total if whole == len(rows) else total + rows[whole:].sum(0, dtype=torch.float64)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of several tensors together, and room for a copy of them."""
    rows = list(map(_rows, tensors))
    length = max(SIDE_BY_SIDE, PIECE // rows[0].shape[1] // SIDE_BY_SIDE * SIDE_BY_SIDE)
    room = torch.empty_like(rows[0][:length])
    for start in range(0, len(rows[0]), length):
        pieces = [each[start : start + length] for each in rows]
        yield (*pieces, room[: len(pieces[0])])


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, [channels] in double precision."""
    centre = _rows(x)[:SAMPLE].mean(0)
    first = second = torch.zeros((), dtype=torch.float64)
    for piece, room in _pieces(x):
        first = first + _sum(torch.sub(piece, centre, out=room))
        second = second + _sum(room.square_())
    count = x.numel() // x.shape[1]
    beyond = first / count
    return centre.double() + beyond, second / count - beyond.square()


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(var + ε) · weight + bias, mean and variance being those of x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        inverse = (variance + eps).rsqrt()
        scale = weight.double() * inverse
        shape = (-1, *[1] * (x.ndim - 2))
        shift = (bias.double() - mean * scale).to(x.dtype).view(shape)
        ctx.save_for_backward(x, weight, mean, inverse)
        ctx.eps = eps
        return torch.addcmul(shift, x, scale.to(x.dtype).view(shape))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, mean, inverse = ctx.saved_tensors
        gradient = gradients[0]
        if torch.is_grad_enabled():  # a gradient of the gradient: torch's own, which has one
            found = torch.ops.aten.native_batch_norm_backward(
                gradient, x, weight, None, None, mean.to(x.dtype), inverse.to(x.dtype), True,
                ctx.eps, [True] * 3,
            )  # fmt: skip
            return (*found, None, None, None)
        if not _is_channels_last(gradient):
            gradient = gradient.contiguous(memory_format=_LAYOUTS[x.ndim])
        count = x.numel() // x.shape[1]
        centre = mean.to(x.dtype)
        bias_gradient = product = torch.zeros((), dtype=torch.float64)
        for piece, values, room in _pieces(gradient, x):
            bias_gradient = bias_gradient + _sum(piece)
            product = product + _sum(torch.sub(values, centre, out=room).mul_(piece))
        # Around the exact mean instead of the rounded one.
        product = (product - bias_gradient * (mean - centre.double())) * inverse
        scale = weight.double() * inverse
        slope = -scale * inverse * product / count
        offset = -scale * bias_gradient / count - slope * mean
        shape = (-1, *[1] * (x.ndim - 2))
        cast = [value.to(x.dtype).view(shape) for value in (offset, scale, slope)]
        input_gradient = torch.addcmul(cast[0], gradient, cast[1]).addcmul_(x, cast[2])
        kind = weight.dtype
        return input_gradient, product.to(kind), bias_gradient.to(kind), None, None, None


_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_channels_last(x: Tensor) -> bool:
    layout = _LAYOUTS.get(x.ndim)
    return layout is not None and x.is_contiguous(memory_format=layout)


class _RightSums(nn.modules.batchnorm._BatchNorm):
    """What stands in for torch's own forward pass; anything that it is not for goes there."""

    def forward(self, input: Tensor) -> Tensor:
        few = input.numel() <= FEW * input.shape[1]
        is_rounded = input.dtype == torch.bfloat16 and input.device.type == "cpu"
        if is_rounded and (few or input.shape[1] < WIDE_IN_BF16):
            input = input.float()
        if (
            not self.training
            or input.device.type != "cpu"
            or input.dtype != torch.float32
            or not _is_channels_last(input)
            or few
            or self.weight is None
            or self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return super().forward(input)
        with torch.no_grad():
            mean, variance = moments(input)
            self.num_batches_tracked.add_(1)
            share = self.momentum
            if share is None:
                share = 1.0 / float(self.num_batches_tracked)
            count = input.numel() // input.shape[1]
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        found: Tensor = _Normalise.apply(input, self.weight, self.bias, mean, variance, self.eps)  # type: ignore[no-untyped-call]
        return found


class BatchNorm2d(_RightSums, nn.BatchNorm2d):
    """nn.BatchNorm2d with right sums."""


class BatchNorm3d(_RightSums, nn.BatchNorm3d):
    """nn.BatchNorm3d with right sums."""


def with_right_sums(model: nn.Module) -> None:
    """Let torch's own batch normalisations in a model, whoever wrote it, sum as here.

    Names, parameters and evaluation stay as they are.
    """
    ours: dict[type[nn.Module], type[nn.Module]] = {
        nn.BatchNorm2d: BatchNorm2d,
        nn.BatchNorm3d: BatchNorm3d,
    }
    for module in model.modules():
        module.__class__ = ours.get(type(module), type(module))
