"""Training in bf16: convolutions and matrix products of 8 significant bits, all else in full."""

from __future__ import annotations

import logging
import platform
from functools import cache

import torch
from torch import Tensor

from pipeline.trial import Trial

log = logging.getLogger("equigrid")


def autocast(trial: Trial, device: str) -> torch.autocast:
    """The context of a training step's forward pass (torch.autocast), by the trial's precision."""
    wanted = trial.training.get("precision") == "bf16"
    if wanted and torch.device(device).type == "cpu":
        _say_if_slow()
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted)


def in_full(outputs: Tensor) -> Tensor:
    """Outputs as scores take them: of bf16 there are no NumPy arrays."""
    return outputs.float() if outputs.dtype == torch.bfloat16 else outputs


@cache
def _say_if_slow() -> None:
    """Once a process. A processor without AVX-512 bf16 or AMX computes it in software."""
    is_fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if platform.machine().lower() in ("x86_64", "amd64") and not is_fast:
        log.warning("precision bf16: this processor has no instructions for it, and takes longer")
