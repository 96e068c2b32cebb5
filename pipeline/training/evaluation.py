"""Scores of a model on a split, and how equivariant its latent is."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pipeline.datasets.resident import Dataset
from pipeline.objectives.regular import LatentAction
from pipeline.objectives.task import TASKS

#: Samples, and numbers of their inputs, that an evaluation takes at once: memory, not results.
EVALUATION_BATCH, EVALUATION_NUMBERS = 500, 2**21


def _chunks(dataset: Dataset, source: str, device: torch.device | str) -> tuple[Tensor, ...]:
    length = min(EVALUATION_BATCH, max(1, EVALUATION_NUMBERS // math.prod(dataset.input_shape)))
    return torch.split(torch.arange(dataset.size(source), device=device), length)


def predict(model: Any, dataset: Dataset, split: str, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Targets and outputs for [b] sample numbers of a split, as a test scores them.

    At the split's fixed group elements where it has them.
    """
    source, views = dataset.sources[split], dataset.views.get(split)
    targets = dataset.targets(source, rows)
    if views is None:
        x = dataset.plain(source, rows)
    else:
        x = dataset.view(source, rows, views.elements[rows], views.draws[rows])
    with torch.inference_mode():
        return targets, TASKS[dataset.task].predict(model, x, targets, None)


def evaluate(model: Any, dataset: Dataset, split: str, device: str) -> dict[str, float]:
    """The loss and the task's metrics of a split, at its fixed elements where it has them."""
    task, kept = TASKS[dataset.task], []
    with torch.inference_mode():
        for rows in _chunks(dataset, dataset.sources[split], device):
            targets, outputs = predict(model, dataset, split, rows)
            kept.append(task.keep(outputs, targets))
        return {"loss": task.mean_loss(kept), **task.metrics(kept, dataset.metrics)}


def validate(
    model: Any, dataset: Dataset, action: LatentAction | None, table: Tensor, device: str
) -> dict[str, float]:
    """Validation scores and, with a latent action, the equivariance loss and relative error.

    equivariance_loss: MSE(ρ_Z(g) E(x1), E(x2)), g fixed per sample.
    equivariance_error: Σ‖ρ_Z(g)E(x1) − E(x2)‖² / Σ‖E(x2) − mean E(x2)‖² (dimensionless).
    """
    if action is None:
        return evaluate(model, dataset, "val", device)
    task, source, views = TASKS[dataset.task], dataset.sources["val"], dataset.views["val"]
    kept, gap = [], LatentGap()
    with torch.inference_mode():
        for rows in _chunks(dataset, source, device):
            targets = dataset.targets(source, rows)
            a, g = views.elements[rows], views.pair_elements[rows]
            x1 = dataset.view(source, rows, a, views.draws[rows])
            x2 = dataset.view(source, rows, table[g, a], views.pair_draws[rows])
            z1 = model.encode(x1)
            kept.append(task.keep(task.predict(model, x1, targets, z1), targets))
            gap.add(action(g, z1), model.encode(x2))
        return {
            "loss": task.mean_loss(kept),
            **task.metrics(kept, dataset.metrics),
            "equivariance_loss": gap.mean_square,
            "equivariance_error": gap.relative,
        }


class LatentGap:
    """Σ‖z1 − z2‖² and Σ‖z2 − mean z2‖² over batches, in double precision (Chan's update).

    Latents may be maps that do not all fit into memory at once.
    """

    def __init__(self) -> None:
        self._count = 0
        self._numbers = 0
        self._mismatch = self._spread = self._mean = torch.zeros((), dtype=torch.float64)

    def add(self, z1: Tensor, z2: Tensor) -> None:
        """[b, …] latents that should be equal."""
        first, second = z1.double(), z2.double()
        mean = second.mean(0)
        total = self._count + len(second)
        moved = mean - self._mean.to(mean.device)
        between = moved.square().sum() * (self._count * len(second) / total)
        self._mismatch = self._mismatch.to(mean.device) + (first - second).square().sum()
        self._spread = self._spread.to(mean.device) + (second - mean).square().sum() + between
        self._mean = mean if not self._count else self._mean + moved * (len(second) / total)
        self._count, self._numbers = total, self._numbers + second.numel()

    @property
    def mean_square(self) -> float:
        return float(self._mismatch / self._numbers)

    @property
    def relative(self) -> float:
        return float(self._mismatch / self._spread)
