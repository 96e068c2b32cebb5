"""What can be named in a search space, what each needs, and where it lives.

Light on purpose: importing it imports no torch. pipeline.lookup goes from a name to its entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from pipeline.parameters import (
    NonNegative,
    Parameters,
    Positive,
    Size,
    parameters,
)
from pipeline.symmetry import FiniteGroup
from pipeline.symmetry.words import relations_of

CLASSIFICATION, AUTOREGRESSION = "classification", "autoregression"
RECONSTRUCTION = "reconstruction"
#: What a model or an objective serves: one task, or several.
Tasks = str | tuple[str, ...]
#: Of a searched value.
HYPERPARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: What a grid may search of any trained row, with its type; `lr` always.
OPTIMISER_SEARCHED = {"lr": Positive, "weight_decay": NonNegative}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """requires: modules that not every installation has. extra: of equigrid's, that brings them."""

    requires: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class Model(Entry):
    """target: a callable (input_shape, outputs, **parameters) giving a torch module.

    parameters: those a search space may set; numbers among them a grid may search.

    The module has `encode(x)`, the latent z [batch, latent] or [batch, channels, *grid], and
    `head(z)`, the outputs.
    trivial: a predictor without training, called with the dataset alone.
    task: of the datasets it can serve, or tasks. axes: of their grid, None where any will do.
    latent_maps: the latent is channels on the input's own grid, and the group moves the grid.
    cpu_seconds: of one forward and backward pass of a sample on one CPU thread, by settings and
    input shape; feeds the first estimate of a plan, None where never measured.
    """

    target: str
    parameters: type[BaseModel] = Parameters
    trivial: bool = False
    task: Tasks = CLASSIFICATION
    axes: int | None = None
    latent_maps: bool = False
    cpu_seconds: Callable[[Mapping[str, Any], tuple[int, ...]], float] | None = None


@dataclass(frozen=True)
class Objective(Entry):
    """target: called as (hyperparameters, **parameters), gives an objective of a batch's loss.

    hyperparameters: the searched values by name, lr among them.

    task: of the datasets it can serve, or tasks. parameters: those a search space may set. check:
    raises ValueError where they do not suit a dataset's group.
    searched: its own hyperparameters, each with its type (a pydantic annotation); a grid has a
    list of each. Of equal scores the lower values win, in this order, then the lower lr.
    passes: encoder passes per sample. draws: whether it adds drawings to a report.
    needs_latent: the group acts on the latent, which must hold at least one copy of it.
    scores: what it measures of a test split itself, beside the dataset's metrics.
    """

    target: str
    parameters: type[BaseModel] = Parameters
    searched: Mapping[str, Any] = field(default_factory=dict)
    task: Tasks = CLASSIFICATION
    needs_latent: bool = False
    passes: int = 1
    draws: bool = False
    scores: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any], FiniteGroup], None] | None = None


@dataclass(frozen=True)
class Task(Entry):
    """What targets are and what outputs are to them (pipeline.objectives.task).

    always: metrics that are measured whatever a dataset says. like: of a task from outside, the one
    whose models and objectives serve it too.
    """

    target: str
    always: tuple[str, ...] = ()
    like: str | None = None


TASKS = {
    CLASSIFICATION: Task("pipeline.objectives.task:Classification", ("accuracy",)),
    AUTOREGRESSION: Task("pipeline.objectives.task:Autoregression"),
    RECONSTRUCTION: Task("pipeline.objectives.task:Reconstruction"),
}


@dataclass(frozen=True)
class Metric(Entry):
    """target: a class with `update` and `compute` (pipeline.metrics.metric); settings: its own.

    margin: a difference from the published value that still agrees, None where none does.
    relative: the margin is a fraction of the published value. reads: `outputs` or `latents`.
    """

    target: str
    higher_is_better: bool
    margin: float | None = None
    relative: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: str = "outputs"


#: A score named `val_accuracy` is the metric on a split.
METRICS = {
    "accuracy": Metric("pipeline.metrics.classification:Accuracy", True, margin=0.01),
    "auc": Metric("pipeline.metrics.classification:AUC", True, margin=0.01),
    # Over a roll-out's first frames: as many as the name says.
    "rmse_6": Metric(
        "pipeline.metrics.roll_out:RollOutRMSE", False, 0.05, True, {"frames": 6}
    ),
    "rmse_20": Metric(
        "pipeline.metrics.roll_out:RollOutRMSE", False, 0.05, True,
        {"frames": 20, "by_frame": True},
    ),
}  # fmt: skip

#: What objectives measure themselves: whether higher is better, None where neither is. A name may
#: end in the number of an irreducible representation.
SCORES = {
    "task_loss": False, "output_loss": False, "latent_loss": False, "equivariance_loss": False,
    "latent_error": False, "algebra_loss": False, "relation_loss": False, "root_distance": False,
    "regular_distance": None, "stuck": None, "steps": None,
    "count": None, "inner": None, "data": None,
}  # fmt: skip
NUMBERED = re.compile(r"(count|inner|data)_[0-9]+")

MODELS = {
    "ddmnist_cnn": Model(
        "pipeline.models.ddmnist_cnn:DDMNISTCNN",
        parameters(width=(Size, 6), latent=(Size, 66)),
        axes=2,
        cpu_seconds=lambda settings, shape: 2.5e-3,
    ),
    "small_cnn": Model(
        "pipeline.models.small_cnn:SmallCNN",
        parameters(width=(Size, 16), latent=(Size, 64)),
        axes=2,
        cpu_seconds=lambda settings, shape: 2e-4,
    ),
    "resnet3d": Model(
        "pipeline.models.resnet3d:ResNet3D",
        parameters(width=(Size, 6), latent=(Size, 48)),
        axes=3,
        cpu_seconds=lambda settings, shape: 2.8e-6 * shape[1] ** 3,
    ),
    "field_cnn": Model(
        "pipeline.models.field_cnn:FieldCNN",
        parameters(width=(Size, 92)),
        task=AUTOREGRESSION,
        axes=2,
        latent_maps=True,
        cpu_seconds=lambda settings, shape: 4e-9 * shape[1] * shape[2] * settings["width"] ** 2,
    ),
    "field_mlp": Model(
        "pipeline.models.field_mlp:FieldMLP",
        parameters(latent=(Size, 92)),
        task=AUTOREGRESSION,
        axes=2,
        cpu_seconds=lambda settings, shape: 1.2e-8 * shape[1] * shape[2] * settings["latent"],
    ),
    "conv_autoencoder": Model(
        "pipeline.models.conv_autoencoder:ConvAutoencoder",
        parameters(latent=(Annotated[int, Field(ge=2)], 42)),
        task=RECONSTRUCTION,
        axes=2,
    ),
    "mlp_autoencoder": Model(
        "pipeline.models.mlp_autoencoder:MLPAutoencoder",
        parameters(latent=(Size, 30)),
        task=RECONSTRUCTION,
    ),
    "gelu_cnn": Model(
        "pipeline.models.gelu_cnn:GELUCNN",
        parameters(width=(Size, 32), latent=(Size, 64), bias=(bool, True)),
        axes=2,
    ),
    "no_network": Model(
        "pipeline.models.no_network:NoNetwork",
        parameters(latent=(Size, 64)),
        task=(CLASSIFICATION, RECONSTRUCTION),
    ),
    "majority": Model("pipeline.models.trivial:MajorityClass", trivial=True),
    "persistence": Model("pipeline.models.trivial:Persistence", trivial=True, task=AUTOREGRESSION),
}

OBJECTIVES = {
    "unaugmented": Objective("pipeline.objectives.task:Unaugmented"),
    "augmented": Objective("pipeline.objectives.task:Augmented"),
    "regular_representation": Objective(
        "pipeline.objectives.regular:RegularRepresentation",
        parameters(task_weights=(Literal["paper", "released"], "paper")),
        searched={"lambda": NonNegative},
        needs_latent=True,
        passes=2,
    ),
    # Passes: of six autoregressive steps, the first also on the turned input.
    "autoregressive": Objective(
        "pipeline.objectives.autoregressive:Autoregressive", task=AUTOREGRESSION, passes=6
    ),
    "autoregressive_augmented": Objective(
        "pipeline.objectives.autoregressive:AutoregressiveAugmented", task=AUTOREGRESSION, passes=7
    ),
    "autoregressive_regular_representation": Objective(
        "pipeline.objectives.autoregressive:AutoregressiveRegularRepresentation",
        parameters(latents=(Literal["paper", "released"], "paper")),
        searched={"lambda": NonNegative},
        task=AUTOREGRESSION,
        needs_latent=True,
        passes=7,
    ),
}


_STARTS = Literal[
    "uniform", "normal", "scaled_normal", "orthogonal", "noisy_orthogonal", "near_identity"
]
_ACTION: dict[str, tuple[Any, Any]] = {
    "relations": (dict[str, NonNegative], {}),
    "regularisers": (dict[str, NonNegative], {}),
    "start": (_STARTS, "orthogonal"),
    "algebra_weight": (NonNegative, 1.0),
}
_ALGEBRA = (
    "algebra_loss", "relation_loss", "root_distance", "regular_distance", "stuck", "steps",
    "count", "inner",
)  # fmt: skip


def _check_relations(settings: Mapping[str, Any], group: FiniteGroup) -> None:
    for kind in ("relations", "regularisers"):
        relations_of(settings[kind], group)


OBJECTIVES |= {
    "learned_representation": Objective(
        "pipeline.objectives.learned_representation:LearnedRepresentation",
        parameters(
            **_ACTION,
            output_weight=(NonNegative, 0.25),
            latent_weight=(NonNegative, 0.25),
            task_on=(Literal["first", "both"], "both"),
        ),
        task=(CLASSIFICATION, RECONSTRUCTION),
        passes=2,
        draws=True,
        scores=(*_ALGEBRA, "task_loss", "output_loss", "latent_loss", "equivariance_loss",
                "latent_error", "data"),
        check=_check_relations,
    ),
    "algebra_alone": Objective(
        "pipeline.objectives.learned_representation:AlgebraAlone",
        parameters(**_ACTION),
        task=(CLASSIFICATION, RECONSTRUCTION),
        draws=True,
        scores=_ALGEBRA,
        check=_check_relations,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Optimiser:
    """target: a class of torch.optim, called as (tensors, lr=…, weight_decay=…, **parameters)."""

    target: str
    parameters: type[BaseModel] = Parameters


OPTIMISERS = {
    "adam": Optimiser("Adam"),
    "adamw": Optimiser("AdamW"),
    "sgd": Optimiser("SGD", parameters(momentum=(NonNegative, 0.0), nesterov=(bool, False))),
}

#: Of the learning rate, beside a constant one (pipeline.training.optimisation).
SCHEDULES: dict[str, type[BaseModel]] = {
    "constant": Parameters,
    "linear": parameters(to=(NonNegative, 0.0)),
    "plateau": parameters(factor=(Annotated[float, Field(gt=0, lt=1)], 0.1), patience=(Size, 10)),
}

DATASETS = {
    "cifar10": "pipeline.datasets.cifar10:CIFAR10",
    "ddmnist": "pipeline.datasets.ddmnist:DDMNIST",
    "medmnist3d": "pipeline.datasets.medmnist3d:MedMNIST3D",
    "mnist": "pipeline.datasets.mnist:MNIST",
    "smoke": "pipeline.datasets.smoke:Smoke",
    "typefaces": "pipeline.datasets.typefaces:Typefaces",
}
