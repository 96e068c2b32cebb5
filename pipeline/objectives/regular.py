"""The method (section 5): the group acts on the latent by its regular representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.objectives.batch import Batch
from equigrid.objectives.latents import latent_shape
from equigrid.objectives.task import Loss, Task
from equigrid.symmetry import (
    FiniteGroup,
    grid_action,
    regular_representation,
    scrambled_elements,
)


class LatentAction:
    """ρ_Z as an index gather on latents of one shape.

    shape: [d], copies of the regular representation; or [channels, rows, columns], where the group
    moves the grid of every channel (the regular representation on each orbit of its points, C.3).
    action: `regular`, or of a control `scrambled`, ρ_Z(π(g)) with a permutation π of the elements
    that is no homomorphism, or `identity` in place of every ρ_Z(g).
    Raises ValueError where d < |G|, the group does not act exactly on the grid, or has too few
    elements to scramble.
    """

    def __init__(
        self,
        group: FiniteGroup,
        shape: Sequence[int],
        device: torch.device | str,
        action: str = "regular",
    ) -> None:
        if len(shape) == 1:
            indices = regular_representation(group, shape[0])
        else:
            indices = grid_action(group, tuple(shape[1:]))
        if action == "scrambled":
            indices = indices[scrambled_elements(group)]
        elif action == "identity":
            indices = np.broadcast_to(np.arange(indices.shape[1]), indices.shape).copy()
        self.indices = torch.from_numpy(indices).to(device)

    def __call__(self, elements: Tensor, latents: Tensor) -> Tensor:
        """[b] elements g and [b, *shape] latents z → [b, *shape] ρ_Z(g) z."""
        if latents.ndim == 2:
            return latents.gather(1, self.indices[elements])
        points = latents.flatten(2)
        moved = points.gather(2, self.indices[elements][:, None].expand_as(points))
        return moved.reshape(latents.shape)


def regular_action(model: Network, dataset: Dataset, action: str = "regular") -> LatentAction:
    """The regular representation on a model's latent; action, ValueError: as of LatentAction.

    >>> import equigrid, torch
    >>> run = equigrid.open_experiment("quickstart").open_run("Ours/C4")
    >>> action = equigrid.regular_action(run.model, run.dataset)
    >>> latents = run.model.encode(run.dataset.plain("test", torch.arange(2)))
    >>> action(torch.tensor([0, 1]), latents).shape == latents.shape
    True
    """
    device = next((it.device for it in model.parameters()), torch.device("cpu"))
    return LatentAction(dataset.group, latent_shape(model, dataset), device, action)


def _of_two_views(
    model: Network, batch: Batch, task: Task, weights: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w1·L(f(x1), y) + w2·L(f(x2), y), the outputs of x1, and the latents of x1 and x2."""
    z1, z2 = model.encode(batch.x1), model.encode(batch.x2)
    outputs = model.head(z1)
    loss = weights[0] * task.loss(outputs, batch.y)
    if weights[1]:
        loss = loss + weights[1] * task.loss(model.head(z2), batch.y)
    return loss, outputs, z1, z2


class TwoViews:
    """½ L(f(x1), y) + ½ L(f(x2), y): the method without its penalty (λ = 0), a control.

    What the method gains over the augmented baseline by a second view of each sample alone.
    """

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        loss, outputs, _, _ = _of_two_views(model, batch, task, (0.5, 0.5))
        return Loss(loss, outputs, {})


class RegularRepresentation:
    """w1·L(f(x1), y) + w2·L(f(x2), y) + λ·MSE(ρ_Z(g) E(x1), E(x2)).

    The MSE is the mean over the batch and all entries; nothing is detached.
    task_weights: `paper` is (0.5, 0.5); `released`, the authors' code on double digits, (1, 0).
    action: what stands for ρ_Z in the loss, see LatentAction. Measured is always the regular one.
    """

    WEIGHTS: ClassVar[dict[str, tuple[float, float]]] = {
        "paper": (0.5, 0.5),
        "released": (1.0, 0.0),
    }

    def __init__(
        self,
        hyperparameters: Mapping[str, float],
        *,
        task_weights: str = "paper",
        action: str = "regular",
    ) -> None:
        self.strength = hyperparameters["lambda"]
        self.weights, self.action = self.WEIGHTS[task_weights], action

    def prepare(self, model: Network, dataset: Dataset) -> None:
        self.imposed_action = regular_action(model, dataset, self.action)

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        loss, outputs, z1, z2 = _of_two_views(model, batch, task, self.weights)
        mismatch = torch.nn.functional.mse_loss(self.imposed_action(batch.g, z1), z2)
        return Loss(
            loss + self.strength * mismatch, outputs, {"equivariance_loss": mismatch.detach()}
        )
