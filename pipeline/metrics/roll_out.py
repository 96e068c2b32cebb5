"""Errors over roll-outs."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """[b, frames, channels, rows, columns] each → mean squared errors [b, frames], in float64."""
    return (outputs - targets).square().flatten(2).mean(2, dtype=torch.float64)


class RollOutRMSE:
    """√ of the mean squared error over samples, the first frames, channels and pixels.

    frames: how many. by_frame: each frame's own comes with it (rmse_frame_01, …).
    """

    def __init__(self, *, frames: int, by_frame: bool = False) -> None:
        self.frames, self.by_frame = frames, by_frame
        self._errors: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._errors.append(frame_errors(outputs, targets))

    def compute(self) -> dict[str, float] | None:
        errors = torch.cat(self._errors).mean(0)
        if self.frames > len(errors):
            return None
        scores = {f"rmse_{self.frames}": float(errors[: self.frames].mean().sqrt())}
        if self.by_frame:
            scores |= {f"rmse_frame_{n:02}": float(e.sqrt()) for n, e in enumerate(errors, 1)}
        return scores
