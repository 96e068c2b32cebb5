"""Tasks (how outputs are scored) and the objectives that are the task alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from equigrid.lookup import load, task_entry
from equigrid.metrics.roll_out import frame_errors
from equigrid.models.network import Network
from equigrid.objectives.batch import Batch

Kept = tuple[Tensor, ...]


class Task(Protocol):
    """What targets are and what a model's outputs are to them.

    loss: mean over a batch. keep: what the loss of a whole split needs of a batch.
    predict: outputs for inputs x, as many as there are targets; z: the latent of x, where known.
    mean_loss: of all batches kept, a plain number.
    From outside the package, `like` names a task whose models and objectives serve this one too.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...

    def predict(self, model: Network, x: Tensor, targets: Tensor, z: Tensor | None) -> Tensor: ...

    def keep(self, outputs: Tensor, targets: Tensor) -> Kept: ...

    def mean_loss(self, kept: Sequence[Kept]) -> float: ...


class _OneOutput:
    """Tasks whose output is the model's, once."""

    def predict(self, model: Network, x: Tensor, targets: Tensor, z: Tensor | None) -> Tensor:
        found: Tensor = model(x) if z is None else model.head(z)
        return found


class Classification(_OneOutput):
    """outputs: [b, classes] scores; targets: [b] int64."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The cross entropy, mean over a batch."""
        return torch.nn.functional.cross_entropy(outputs, targets)

    def keep(self, outputs: Tensor, targets: Tensor) -> Kept:
        return outputs, targets

    def mean_loss(self, kept: Sequence[Kept]) -> float:
        return float(self.loss(*_together(kept)))


class Autoregression:
    """outputs, targets: [b, frames, channels, rows, columns], each frame made from those before.

    The model gives one frame for the last ones; the frame joins its input, the oldest leaves.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error of each frame, summed over the frames."""
        return (outputs - targets).square().mean((0, 2, 3, 4)).sum()

    def predict(self, model: Network, x: Tensor, targets: Tensor, z: Tensor | None) -> Tensor:
        """Roll out as many frames as the targets have."""
        frames = []
        for n in range(targets.shape[1]):
            frame = model.head(z) if n == 0 and z is not None else model(x)
            frames.append(frame)
            x = torch.cat([x[:, frame.shape[1] :], frame], 1)
        return torch.stack(frames, 1)

    def keep(self, outputs: Tensor, targets: Tensor) -> Kept:
        """Mean squared errors [b, frames]."""
        return (frame_errors(outputs, targets),)

    def mean_loss(self, kept: Sequence[Kept]) -> float:
        return float(_together(kept)[0].mean(0).sum())


class Reconstruction(_OneOutput):
    """outputs and targets are inputs: [b, *input_shape]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error over all entries."""
        return torch.nn.functional.mse_loss(outputs, targets)

    def keep(self, outputs: Tensor, targets: Tensor) -> Kept:
        """Mean squared errors [b]."""
        return ((outputs - targets).square().flatten(1).mean(1),)

    def mean_loss(self, kept: Sequence[Kept]) -> float:
        return float(_together(kept)[0].mean())


def _together(kept: Sequence[Kept]) -> Kept:
    return tuple(map(torch.cat, zip(*kept, strict=True)))


def task_named(name: str) -> Task:
    """The task behind a name of the registry or `module:object`."""
    found: Task = load(task_entry(name).target)()
    return found


@dataclass(frozen=True)
class Loss:
    """What an objective gives of a batch.

    total: scalar, what is differentiated. outputs: [b, …] of the view that the training scores are
    taken on, None where there are none. terms: further parts worth following, detached scalars; the
    curves of the report and MLflow have them as `train_NAME`.

    >>> import torch
    >>> from equigrid import Loss
    >>> penalty = torch.tensor(0.5)
    >>> Loss(1.0 + 2 * penalty, torch.zeros(8, 10), {"penalty": penalty}).total
    tensor(2.)
    """

    total: Tensor
    outputs: Tensor | None
    terms: dict[str, Tensor]


@runtime_checkable
class Objective(Protocol):
    """Makes the loss of a batch: called with a network, the batch and the dataset's task.

    batch.x1 and batch.x2 are two views [b, …] of the samples batch.x, moved by elements of the
    group; task.loss(outputs, targets) is the task's mean loss.

    >>> from equigrid import Loss
    >>> class Smoothed:
    ...     def __init__(self, values, *, power: float = 2.0):
    ...         self.weight, self.power = values["lambda"], power
    ...
    ...     def __call__(self, model, batch, task):
    ...         latents = model.encode(batch.x1)
    ...         outputs = model.head(latents)
    ...         size = latents.abs().pow(self.power).mean()
    ...         total = task.loss(outputs, batch.y1) + self.weight * size
    ...         return Loss(total, outputs, {"size": size.detach()})
    >>> Smoothed.searched = ("lambda",)

    It is constructed with the values that a grid searches, {name: number}, and has its own settings
    as keyword-only parameters. An objective may have besides, each told by its name:

    prepare(model, dataset) -> Module | None: called before training; what it returns is trained,
        checkpointed and kept with the weights.
    latent_action(elements, latents) -> latents: what the encoder is measured against, [b] and
        [b, …]; by default the regular representation.
    score(model, dataset, split) -> {name: number}: what a split is measured by in place of the
        task's scores, `loss` among them.
    artifacts() -> {name: bytes}, drawings(runs): as of a network.

    And, from outside the package, as attributes of the class: searched (names, or names and types),
    passes (of the encoder a sample), scores (names that columns may show), needs_latent,
    validates_plain, task. What it does not say is as of the packaged class that it inherits from.
    """

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        """The loss of a batch, the outputs that the training score is made from, parts to log."""


def with_penalties(loss: Loss, model: Network) -> Loss:
    """The loss and what the model asks for beside it, `penalties() → {name: (weight, tensor)}`."""
    if not hasattr(model, "penalties"):
        return loss
    found: dict[str, tuple[float, Tensor]] = model.penalties()
    total = loss.total + sum(weight * value for weight, value in found.values())
    terms = {name: value.detach() for name, (_, value) in found.items()}
    return Loss(total, loss.outputs, {**loss.terms, **terms})


class Unaugmented:
    """L(f(x), y): the baseline on the samples as they are.

    validation: what its epochs are scored on, and so stopped and chosen by: `plain`, samples as
    they are (as the published rows of table 5 were), or `views`, as augmented rows are scored.
    """

    def __init__(self, hyperparameters: Mapping[str, float], *, validation: str = "plain") -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""
        self.validates_plain = validation == "plain"

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        outputs = model(batch.x)
        return Loss(task.loss(outputs, batch.y), outputs, {})


class Augmented:
    """L(f(x1), y) with x1 = a·x: the augmented baseline, λ = 0, one encoder pass."""

    def __init__(self, hyperparameters: Mapping[str, float]) -> None:
        """Its only hyperparameter, the learning rate, is the optimiser's."""

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        outputs = model(batch.x1)
        return Loss(task.loss(outputs, batch.y), outputs, {})
