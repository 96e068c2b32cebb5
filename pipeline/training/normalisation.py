"""Batch normalisation with right sums, and the activation after it, as a CPU trains fastest.

torch 2.13 adds up a batch in channels-last layout one number after the other in single precision:
of 256×12×55×55 numbers (mean 1, std 2) its output is off by 1e-3, its running variance by 1.5e-4
and a weight's gradient by 5e-4; in contiguous layout by 5e-7. Here sums are taken of pieces that
fit into a processor's cache, and the pieces' sums are added in double precision.

What a convolution in bf16 gives is normalised in single precision, in which it stays but for what
goes into a convolution again, where it has few channels or few rows: torch's own normalisation and
pooling are slower in bf16 there. Of many torch normalises in bf16, whose rounding (4e-3) is larger
than what its sums are off by.
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
#: What is done in the same go as the normalisation before it.
ACTIVATIONS = (nn.ELU, nn.ReLU)
#: Rows whose mean is near enough to that of all to be taken off before squaring.
SAMPLE = 256


def _rows(x: Tensor) -> Tensor:
    """[batch, channels, *grid] in channels-last layout → [rows, channels], the same memory."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of several tensors together, side by side, and room for two single-precision ones.

    Pieces [n, SIDE_BY_SIDE · channels]: what has few channels runs along memory, too. The rows that
    are left over are the last piece, [n, channels].
    """
    rows = list(map(_rows, tensors))
    count, channels = rows[0].shape
    whole = count - count % SIDE_BY_SIDE
    wide = [each[:whole].view(-1, SIDE_BY_SIDE * channels) for each in rows]
    length = max(1, PIECE // (SIDE_BY_SIDE * channels))
    rooms = torch.empty(2, length * SIDE_BY_SIDE * channels, dtype=torch.float32)
    for found, step in ((wide, length), ([each[whole:] for each in rows], SIDE_BY_SIDE)):
        for start in range(0, len(found[0]), step):
            pieces = [each[start : start + step] for each in found]
            yield (*pieces, *(room[: pieces[0].numel()].view_as(pieces[0]) for room in rooms))


def _single(piece: Tensor, room: Tensor) -> Tensor:
    """A piece in single precision: itself, or a copy in `room`."""
    return piece if piece.dtype == torch.float32 else room.copy_(piece)


def _along(*values: Tensor) -> dict[int, list[Tensor]]:
    """By a piece's width: values of each channel, in single precision, for each of its rows."""
    narrow = [it.float() for it in values]
    wide = [it.repeat(SIDE_BY_SIDE) for it in narrow]
    return {len(it[0]): it for it in (narrow, wide)}


def _sum(piece: Tensor, channels: int) -> Tensor:
    """Σ over the rows of a piece, [channels] in double precision."""
    if piece.shape[1] == channels:
        return piece.sum(0, dtype=torch.float64)
    return piece.sum(0).view(SIDE_BY_SIDE, channels).sum(0, dtype=torch.float64)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, [channels] in double precision."""
    channels = x.shape[1]
    centre = _rows(x)[:SAMPLE].float().mean(0)
    centres = _along(centre)
    first = second = torch.zeros((), dtype=torch.float64)
    for piece, room, _ in _pieces(x):
        values = _single(piece, room)
        first = first + _sum(torch.sub(values, *centres[piece.shape[1]], out=room), channels)
        second = second + _sum(room.square_(), channels)
    count = x.numel() // channels
    beyond = first / count
    return centre.double() + beyond, second / count - beyond.square()


def _activate(y: Tensor, activation: nn.Module | None, room: Tensor | None) -> None:
    """In place. room: as large as y, where an ELU may be off by what y itself is rounded by."""
    if room is not None and isinstance(activation, nn.ELU) and activation.alpha == 1:
        torch.clamp_max(y, 0, out=room).exp_().sub_(1)  # torch's own takes three times as long
        torch.maximum(y, room, out=y)
    elif isinstance(activation, nn.ELU):
        nn.functional.elu_(y, activation.alpha)
    elif activation is not None:
        y.relu_()


def _slope(gradient: Tensor, y: Tensor, activation: nn.Module, out: Tensor) -> None:
    """The gradient of the loss by y, of that by the activation of y, into `out`."""
    if isinstance(activation, nn.ELU):
        backward = torch.ops.aten.elu_backward.grad_input
        backward(gradient, activation.alpha, 1, 1, False, y, grad_input=out)
    else:
        torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=out)


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(var + ε) · weight + bias, mean and variance being those of x; activated.

    Piece by piece, so that what follows on a number finds it in the cache; what the way back needs
    besides x is calculated again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        activation: nn.Module | None,
        kind: torch.dtype,
    ) -> Tensor:
        inverse = (variance + eps).rsqrt()
        scale = weight.double() * inverse
        shift = bias.double() - mean * scale
        ctx.save_for_backward(x, weight, bias, mean, inverse, scale, shift)
        ctx.eps, ctx.activation = eps, activation
        found = torch.empty_like(x, dtype=kind)
        line = _along(scale, shift)
        in_single = x.dtype == torch.float32
        for piece, result, room, more in _pieces(x, found):
            by, beyond = line[piece.shape[1]]
            target = result if kind == torch.float32 else room
            torch.addcmul(beyond, _single(piece, room), by, out=target)
            _activate(target, activation, None if in_single else more)
            if target is room:
                result.copy_(room)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight, bias, mean, inverse, scale, shift = ctx.saved_tensors
        gradient, activation = gradients[0], ctx.activation
        if torch.is_grad_enabled():  # a gradient of the gradient: torch's own, which has one
            y = nn.functional.batch_norm(x.float(), None, None, weight, bias, True, 0.0, ctx.eps)
            y = y if activation is None else activation(y)
            given = (x, weight, bias)
            return (
                *torch.autograd.grad(y, given, gradient.float(), create_graph=True),
                *[None] * 5,
            )
        if not _is_channels_last(gradient):
            gradient = gradient.contiguous(memory_format=_LAYOUTS[x.ndim])
        channels = x.shape[1]
        slopes = gradient if activation is None else torch.empty_like(x)
        bias_gradient = product = torch.zeros((), dtype=torch.float64)
        centre = mean.float()
        line = _along(scale, shift, centre)
        in_single = x.dtype == torch.float32
        for piece, values, kept, room, more in _pieces(gradient, x, slopes):
            by, beyond, middle = line[values.shape[1]]
            slope = _single(piece, more)
            if activation is not None:
                y = torch.addcmul(beyond, _single(values, room), by, out=room)
                target = kept if in_single else more
                _slope(slope, y, activation, target)
                slope = target
                if not in_single:
                    kept.copy_(slope)
            bias_gradient = bias_gradient + _sum(slope, channels)
            around = torch.sub(_single(values, room), middle, out=room)
            product = product + _sum(around.mul_(slope), channels)
        # Around the exact mean instead of the rounded one.
        product = (product - bias_gradient * (mean - centre.double())) * inverse
        count = x.numel() // channels
        tilt = -scale * inverse * product / count
        offset = -scale * bias_gradient / count - tilt * mean
        found = torch.empty_like(x) if slopes is gradient else slopes
        plane = _along(offset, scale, tilt)
        for kept, values, result, room, more in _pieces(slopes, x, found):
            beyond, by, times = plane[values.shape[1]]
            target = result if in_single else more
            torch.addcmul(beyond, _single(kept, more), by, out=target)
            target.addcmul_(_single(values, room), times)
            if target is more:
                result.copy_(more)
        kind = weight.dtype
        return found, product.to(kind), bias_gradient.to(kind), *[None] * 5


_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def _is_channels_last(x: Tensor) -> bool:
    layout = _LAYOUTS.get(x.ndim)
    return layout is not None and x.is_contiguous(memory_format=layout)


class _AccurateBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What stands in for torch's own forward pass; anything that it is not for goes there.

    is_rounded: what is calculated of a bf16 input is rounded to bf16 again.
    """

    is_rounded = False

    def forward(self, input: Tensor, activation: nn.Module | None = None) -> Tensor:
        """activation: nn.ELU or nn.ReLU, of what is normalised."""
        few = input.numel() <= FEW * input.shape[1]
        on_cpu = input.device.type == "cpu"
        narrow = on_cpu and input.dtype == torch.bfloat16 and input.shape[1] < WIDE_IN_BF16
        if (
            not self.training
            or not ((on_cpu and input.dtype == torch.float32) or narrow)
            or not _is_channels_last(input)
            or few
            or self.weight is None
            or self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            if narrow or (few and on_cpu and input.dtype == torch.bfloat16):
                input = input.float()
            found: Tensor = super().forward(input)
            return found if activation is None else activation(found)
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
        kind = input.dtype if self.is_rounded else torch.float32
        statistics = (mean, variance, self.eps, activation, kind)
        return _Normalise.apply(input, self.weight, self.bias, *statistics)  # type: ignore[no-any-return, no-untyped-call]


class BatchNorm2d(_AccurateBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d with right sums."""


class BatchNorm3d(_AccurateBatchNorm, nn.BatchNorm3d):
    """nn.BatchNorm3d with right sums."""


class Sequential(nn.Sequential):
    """nn.Sequential that normalises and activates in one go."""

    def forward(self, input: Any) -> Any:
        waiting: nn.Module | None = None
        for module in self:
            if waiting is not None and type(module) in ACTIVATIONS:
                input, waiting = waiting(input, module), None
                continue
            if waiting is not None:
                input, waiting = waiting(input), None
            if isinstance(module, _AccurateBatchNorm):
                waiting = module
            else:
                input = module(input)
        return input if waiting is None else waiting(input)


def with_accurate_sums(model: nn.Module) -> None:
    """Let torch's own batch normalisations in a model, whoever wrote it, sum as here.

    Where an activation follows one in an nn.Sequential, both are done in one go.

    Names, parameters and evaluation stay as they are.
    """
    ours: dict[type[nn.Module], type[nn.Module]] = {
        nn.BatchNorm2d: BatchNorm2d,
        nn.BatchNorm3d: BatchNorm3d,
        nn.Sequential: Sequential,
    }
    for module in model.modules():
        module.__class__ = ours.get(type(module), type(module))
