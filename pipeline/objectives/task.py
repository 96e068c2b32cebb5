"""Tasks (how outputs are scored) and the objectives that are the task alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from pipeline.objectives.batch import Batch


class Task(Protocol):
    """loss: the mean over a batch. metrics: of all outputs of a split, plain numbers."""

    names: ClassVar[tuple[str, ...]]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]: ...


class Classification:
    """outputs: [b, classes] scores; targets: [b] int64."""

    names: ClassVar[tuple[str, ...]] = ("accuracy",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {"accuracy": int((outputs.argmax(1) == targets).sum()) / len(targets)}


TASKS: dict[str, Task] = {"classification": Classification()}


@dataclass(frozen=True)
class Loss:
    """total: what is differentiated. outputs: of the view that the training scores are taken on.

    terms: further parts worth following, detached scalars.
    """

    total: Tensor
    outputs: Tensor
    terms: dict[str, Tensor]


class Objective(Protocol):
    """Constructed as objective(hyperparameters, **parameters)."""

    def __call__(self, model: Any, batch: Batch, task: Task) -> Loss: ...


class Unaugmented:
    """L(f(x), y): the baseline on the samples as they are."""

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Any, batch: Batch, task: Task) -> Loss:
        outputs = model(batch.x)
        return Loss(task.loss(outputs, batch.y), outputs, {})


class Augmented:
    """L(f(x1), y) with x1 = a·x: the augmented baseline, λ = 0, one encoder pass."""

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Any, batch: Batch, task: Task) -> Loss:
        outputs = model(batch.x1)
        return Loss(task.loss(outputs, batch.y), outputs, {})
