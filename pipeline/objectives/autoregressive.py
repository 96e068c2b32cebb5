"""Objectives of autoregression (C.3): six frames, each made from the model's own before it.

The pair is x and g·x itself, without an augmentation a; only the first step sees g·x.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.objectives.batch import Batch
from equigrid.objectives.regular import regular_action
from equigrid.objectives.task import Loss, Task


class Autoregressive:
    """Σ over the frames of MSE(f(x), y): the baseline on the samples as they are."""

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        outputs = task.predict(model, batch.x, batch.y, None)
        return Loss(task.loss(outputs, batch.y), outputs, {})


class _Paired:
    """½ MSE of the first frame on x, ½ on g·x, and the MSE of the further frames on x."""

    def _loss(
        self, model: Network, batch: Batch, task: Task
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The loss, the roll-out on x, and the latents of x and of g·x."""
        z, moved_z = model.encode(batch.x), model.encode(batch.gx)
        outputs = task.predict(model, batch.x, batch.y, z)
        first = task.loss(outputs[:, :1], batch.y[:, :1])
        moved = task.loss(model.head(moved_z)[:, None], batch.gy[:, :1])
        loss = 0.5 * first + 0.5 * moved + task.loss(outputs[:, 1:], batch.y[:, 1:])
        return loss, outputs, z, moved_z


class AutoregressiveAugmented(_Paired):
    """The augmented baseline: the method with λ = 0, which sees both views as the method does."""

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        loss, outputs, _, _ = self._loss(model, batch, task)
        return Loss(loss, outputs, {})


class AutoregressiveRegularRepresentation(_Paired):
    """The augmented loss + λ·MSE(ρ_Z(g) E(x), E(g·x)), the mean over the batch and all entries.

    action: what stands for ρ_Z in the loss, see LatentAction. Measured is always the regular one.
    latents: `paper` compares each sample's latents; `released`, as the authors' code does, all of
    E(g·x) with the first sample's ρ_Z(g) E(x).
    """

    def __init__(
        self,
        hyperparameters: Mapping[str, float],
        *,
        latents: str = "paper",
        action: str = "regular",
    ) -> None:
        self.strength = hyperparameters["lambda"]
        self.first_only, self.action = latents == "released", action

    def prepare(self, model: Network, dataset: Dataset) -> None:
        self.imposed_action = regular_action(model, dataset, self.action)

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        loss, outputs, z, moved_z = self._loss(model, batch, task)
        expected = self.imposed_action(batch.g, z)
        if self.first_only:
            expected = expected[:1].expand_as(expected)
        mismatch = torch.nn.functional.mse_loss(expected, moved_z)
        return Loss(
            loss + self.strength * mismatch, outputs, {"equivariance_loss": mismatch.detach()}
        )
