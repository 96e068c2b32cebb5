"""Scores of a model on a split, and how equivariant its latent is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.datasets.resident import Dataset
from pipeline.objectives.regular import LatentAction
from pipeline.objectives.task import TASKS

EVALUATION_BATCH = 500


def _chunks(size: int, device: torch.device | str) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(size, device=device), EVALUATION_BATCH)


def evaluate(model: Any, dataset: Dataset, split: str, device: str) -> dict[str, float]:
    """The loss and the task's metrics of a split, at its fixed elements where it has them."""
    task, source = TASKS[dataset.task], dataset.sources[split]
    views = dataset.views.get(split)
    outputs, targets = [], []
    with torch.inference_mode():
        for rows in _chunks(dataset.size(source), device):
            if views is None:
                x = dataset.plain(source, rows)
            else:
                x = dataset.view(source, rows, views.elements[rows], views.draws[rows])
            outputs.append(model(x))
            targets.append(dataset.targets(source, rows))
        everything, truth = torch.cat(outputs), torch.cat(targets)
        return {"loss": float(task.loss(everything, truth)), **task.metrics(everything, truth)}


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
    outputs, targets, first, second = [], [], [], []
    with torch.inference_mode():
        for rows in _chunks(dataset.size(source), device):
            a, g = views.elements[rows], views.pair_elements[rows]
            z1 = model.encode(dataset.view(source, rows, a, views.draws[rows]))
            x2 = dataset.view(source, rows, table[g, a], views.pair_draws[rows])
            outputs.append(model.head(z1))
            targets.append(dataset.targets(source, rows))
            first.append(action(g, z1))
            second.append(model.encode(x2))
        everything, truth = torch.cat(outputs), torch.cat(targets)
        moved, z2 = torch.cat(first).double(), torch.cat(second).double()
        mismatch = (moved - z2).square().sum()
        spread = (z2 - z2.mean(0)).square().sum()
        return {
            "loss": float(task.loss(everything, truth)),
            **task.metrics(everything, truth),
            "equivariance_loss": float(mismatch / z2.numel()),
            "equivariance_error": float(mismatch / spread),
        }
