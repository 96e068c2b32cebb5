"""The method (section 5): the group acts on the latent by its regular representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from pipeline.datasets.resident import Dataset
from pipeline.objectives.batch import Batch
from pipeline.objectives.latents import latent_shape
from pipeline.objectives.task import Loss, Task
from pipeline.symmetry import FiniteGroup, grid_action, regular_representation


class LatentAction:
    """ρ_Z as an index gather on latents of one shape.

    shape: [d], copies of the regular representation; or [channels, rows, columns], where the group
    moves the grid of every channel (the regular representation on each orbit of its points, C.3).
    Raises ValueError where d < |G|, or the group does not act exactly on the grid.
    """

    def __init__(
        self, group: FiniteGroup, shape: Sequence[int], device: torch.device | str
    ) -> None:
        if len(shape) == 1:
            indices = regular_representation(group, shape[0])
        else:
            indices = grid_action(group, tuple(shape[1:]))
        self.indices = torch.from_numpy(indices).to(device)

    def __call__(self, elements: Tensor, latents: Tensor) -> Tensor:
        """[b] elements g and [b, *shape] latents z → [b, *shape] ρ_Z(g) z."""
        if latents.ndim == 2:
            return latents.gather(1, self.indices[elements])
        points = latents.flatten(2)
        moved = points.gather(2, self.indices[elements][:, None].expand_as(points))
        return moved.reshape(latents.shape)


def regular_action(model: Any, dataset: Dataset) -> LatentAction:
    """The regular representation on a model's latent; raises ValueError as LatentAction does."""
    device = next((it.device for it in model.parameters()), torch.device("cpu"))
    return LatentAction(dataset.group, latent_shape(model, dataset), device)


class RegularRepresentation:
    """w1·L(f(x1), y) + w2·L(f(x2), y) + λ·MSE(ρ_Z(g) E(x1), E(x2)).

    The MSE is the mean over the batch and all entries; nothing is detached.
    task_weights: `paper` is (0.5, 0.5); `released`, the authors' code on double digits, (1, 0).
    """

    searched: ClassVar[tuple[str, ...]] = ("lambda",)
    needs_latent: ClassVar[bool] = True
    passes: ClassVar[int] = 2
    WEIGHTS: ClassVar[dict[str, tuple[float, float]]] = {
        "paper": (0.5, 0.5),
        "released": (1.0, 0.0),
    }

    def __init__(
        self, hyperparameters: Mapping[str, float], *, task_weights: str = "paper"
    ) -> None:
        self.strength = hyperparameters["lambda"]
        self.weights = self.WEIGHTS[task_weights]

    def prepare(self, model: Any, dataset: Dataset) -> None:
        self.latent_action = regular_action(model, dataset)

    def __call__(self, model: Any, batch: Batch, task: Task) -> Loss:
        z1, z2 = model.encode(batch.x1), model.encode(batch.x2)
        outputs = model.head(z1)
        loss = self.weights[0] * task.loss(outputs, batch.y)
        if self.weights[1]:
            loss = loss + self.weights[1] * task.loss(model.head(z2), batch.y)
        mismatch = torch.nn.functional.mse_loss(self.latent_action(batch.g, z1), z2)
        return Loss(
            loss + self.strength * mismatch, outputs, {"equivariance_loss": mismatch.detach()}
        )
