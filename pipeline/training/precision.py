"""Training in bf16: convolutions and matrix products of 8 significant bits, all else in full."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from functools import cache
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from equigrid.training.normalisation import ACTIVATIONS, BatchNorm2d, BatchNorm3d, Sequential
from equigrid.trial import Trial

log = logging.getLogger("equigrid")


def in_bf16(trial: Trial) -> bool:
    return trial.training.get("precision") == "bf16"


def autocast(trial: Trial, device: str) -> torch.autocast:
    """The context of a training step's forward pass (torch.autocast), by the trial's precision."""
    wanted = in_bf16(trial)
    if wanted and torch.device(device).type == "cpu":
        _say_if_slow()
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted)


class _AvgPool2d(nn.AvgPool2d):
    """While training on a CPU an average is a convolution with equal weights.

    torch's own average pooling is not vectorised: of 256×12×55×55 numbers, forth and back, it takes
    61 ms and the convolution 12 (fp32, one thread). They differ in how they round, and what trains
    in fp32 gives the records that it always gave.
    """

    def forward(self, input: Tensor) -> Tensor:
        count, channels = self.divisor_override or prod(_pair(self.kernel_size)), input.shape[1]
        uncounted = self.ceil_mode or (not self.count_include_pad and self.padding != 0)
        if not self.training or input.device.type != "cpu" or input.ndim != 4 or uncounted:
            return super().forward(input)
        # A depthwise convolution's gradient is slow in bf16: 67 ms.
        with torch.autocast("cpu", enabled=False):
            shape = (channels, 1, *_pair(self.kernel_size))
            weights = torch.full(shape, 1 / count, dtype=torch.float32)
            return functional.conv2d(
                input.float(), weights, None, self.stride, self.padding, groups=channels
            )


class _StridedConv2d(nn.Conv2d):
    """A strided convolution of few channels, which a CPU computes in single precision.

    In bf16 its weights' gradient is slow: of 256×12×27×27 numbers to 24 channels, kernel 3, stride
    2, forth and back, it takes 25 ms (39 ms without AMX) and in fp32 18 ms.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


#: Input channels below which a strided convolution is slow in bf16.
FEW_CHANNELS = 16


def fit_for_bf16(model: nn.Module) -> None:
    """Let a model that trains in bf16 do fast what it would do slowly; its state stays the same."""
    for module in model.modules():
        if type(module) is nn.AvgPool2d:
            module.__class__ = _AvgPool2d
        elif type(module) is nn.Conv2d and _is_slow(module):
            module.__class__ = _StridedConv2d
    # From the innermost outwards: the outermost knows what comes behind.
    for module in reversed(list(model.modules())):
        if isinstance(module, Sequential):
            _round_between_convolutions(list(_parts(module)))


def _is_slow(module: nn.Conv2d) -> bool:
    return max(module.stride) > 1 and module.in_channels < FEW_CHANNELS


def _round_between_convolutions(parts: list[nn.Module]) -> None:
    """What is normalised for a convolution in bf16 is written as that takes it."""
    for place, norm in enumerate(parts):
        if isinstance(norm, BatchNorm2d | BatchNorm3d):
            behind = (it for it in parts[place + 1 :] if not isinstance(it, ACTIVATIONS))
            norm.is_rounded = type(next(behind, None)) in (nn.Conv2d, nn.Conv3d)


def _parts(sequence: Sequential) -> Iterator[nn.Module]:
    """What an nn.Sequential does one after the other, whatever it is nested in."""
    for module in sequence:
        if isinstance(module, Sequential):
            yield from _parts(module)
        else:
            yield module


def in_single_precision(outputs: Tensor) -> Tensor:
    """Outputs as scores take them: of bf16 there are no NumPy arrays."""
    return outputs.float() if outputs.dtype == torch.bfloat16 else outputs


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


@cache
def _say_if_slow() -> None:
    """Once a process. A processor without AVX-512 bf16 or AMX computes it in software."""
    is_fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if platform.machine().lower() in ("x86_64", "amd64") and not is_fast:
        log.warning("precision bf16: this processor has no instructions for it, and takes longer")
