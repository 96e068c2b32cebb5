"""What a trained model makes of one window of a test split, to look at."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.datasets.resident import Dataset
from pipeline.objectives.task import TASKS
from pipeline.training.run import build_model
from pipeline.training.weights import load_weights
from pipeline.trial import Trial


def continuation(
    trial: Trial, weights: Path, dataset: Dataset, split: str, row: int
) -> tuple[Tensor, Tensor]:
    """The true and the predicted frames of a window, [frames, channels, rows, columns] each.

    weights: of the trial's best epoch; unused where it is not trained. On the CPU.
    Raises OSError or ValueError where they cannot be read.
    """
    model = build_model(trial, dataset, "cpu").eval()
    if trial.training:
        model.load_state_dict(load_weights(weights)[0])
    source, rows = dataset.sources[split], torch.tensor([row])
    targets = dataset.targets(source, rows)
    with torch.inference_mode():
        found = TASKS[dataset.task].predict(model, dataset.plain(source, rows), targets, None)
    return targets[0], found[0]
