"""What can be named in a search space, what each needs, and where it lives.

Light on purpose: importing it imports no torch. pipeline.lookup goes from a name to its entry.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field

from pipeline.parameters import NonNegative, Parameters, Size, parameters
from pipeline.registry.entries import (
    AUTOREGRESSION,
    CLASSIFICATION,
    HYPERPARAMETER,
    OPTIMISER_SEARCHED,
    RECONSTRUCTION,
    Entry,
    Metric,
    Model,
    Objective,
    Optimiser,
    Task,
    Tasks,
)
from pipeline.registry.models import MODELS
from pipeline.registry.objectives import OBJECTIVES

__all__ = [
    "AUTOREGRESSION", "CLASSIFICATION", "DATASETS", "HYPERPARAMETER", "METRICS", "MODELS",
    "NUMBERED", "OBJECTIVES", "OPTIMISERS", "OPTIMISER_SEARCHED", "RECONSTRUCTION", "SCHEDULES",
    "SCORES", "TASKS", "Entry", "Metric", "Model", "Objective", "Optimiser", "Task", "Tasks",
]  # fmt: skip

TASKS = {
    CLASSIFICATION: Task("pipeline.objectives.task:Classification", ("accuracy",)),
    AUTOREGRESSION: Task("pipeline.objectives.task:Autoregression"),
    RECONSTRUCTION: Task("pipeline.objectives.task:Reconstruction"),
}


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
