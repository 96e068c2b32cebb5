"""What can be named in a search space, what each needs, and where it lives.

Light on purpose: importing it imports no torch. equigrid.lookup goes from a name to its entry.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field

from equigrid.parameters import Later, NonNegative, Parameters, Positive, Size, parameters
from equigrid.registry.entries import (
    AUTOREGRESSION,
    CLASSIFICATION,
    HYPERPARAMETER,
    OPTIMISER_SEARCHED,
    RECONSTRUCTION,
    MetricEntry,
    ModelEntry,
    ObjectiveEntry,
    Optimiser,
    PartEntry,
    TaskEntry,
    Tasks,
)
from equigrid.registry.models import MODELS
from equigrid.registry.objectives import OBJECTIVES

__all__ = [
    "AUTOREGRESSION", "CLASSIFICATION", "DATASETS", "HYPERPARAMETER", "METRICS", "MODELS",
    "NUMBERED", "OBJECTIVES", "OPTIMISERS", "OPTIMISER_SEARCHED", "RECONSTRUCTION", "SCHEDULES",
    "SCORES", "TASKS", "MetricEntry", "ModelEntry", "ObjectiveEntry", "Optimiser", "PartEntry",
    "TaskEntry", "Tasks",
]  # fmt: skip

TASKS = {
    CLASSIFICATION: TaskEntry("equigrid.objectives.task:Classification", ("accuracy",)),
    AUTOREGRESSION: TaskEntry("equigrid.objectives.task:Autoregression"),
    RECONSTRUCTION: TaskEntry("equigrid.objectives.task:Reconstruction"),
}


#: A score named `val_accuracy` is the metric on a split.
METRICS = {
    "accuracy": MetricEntry(
        "equigrid.metrics.classification:Accuracy", True, margin=0.01, is_share=True
    ),
    "auc": MetricEntry("equigrid.metrics.classification:AUC", True, margin=0.01, is_share=True),
    # Over a roll-out's first frames: as many as the name says.
    "rmse_6": MetricEntry(
        "equigrid.metrics.roll_out:RollOutRMSE", False, 0.05, True, {"frames": 6}
    ),
    "rmse_20": MetricEntry(
        "equigrid.metrics.roll_out:RollOutRMSE", False, 0.05, True,
        {"frames": 20, "by_frame": True},
    ),
    "mse": MetricEntry(
        "equigrid.metrics.reconstruction:MeanSquare", False, 0.1, True, may_be_tiny=True
    ),
    "cosine": MetricEntry("equigrid.metrics.reconstruction:CosineDistance", False, 0.1, True),
    "weighted_cosine": MetricEntry(
        "equigrid.metrics.reconstruction:CosineDistance", False, 0.1, True, {"by_degree": True}
    ),
    "purity": MetricEntry(
        "equigrid.metrics.probes:Purity", True, 0.03, reads="latents", is_share=True
    ),
    "v_measure": MetricEntry(
        "equigrid.metrics.probes:VMeasure", True, 0.03, reads="latents", is_share=True
    ),
    "linear_accuracy": MetricEntry(
        "equigrid.metrics.probes:LinearAccuracy", True, 0.01, reads="latents", is_share=True
    ),
    "knn_accuracy": MetricEntry(
        "equigrid.metrics.probes:KNNAccuracy", True, 0.01, reads="latents", is_share=True
    ),
}  # fmt: skip

#: What objectives measure themselves: whether higher is better, None where neither is. A name may
#: end in the number of an irreducible representation.
SCORES = {
    "task_loss": False, "output_loss": False, "latent_loss": False, "equivariance_loss": False,
    "latent_error": False, "algebra_loss": False, "relation_loss": False, "root_distance": False,
    "regular_distance": None, "stuck": None, "steps": None,
    "count": None, "inner": None, "data": None, "kl": None, "rotation_error": False,
}  # fmt: skip
NUMBERED = re.compile(r"(count|inner|data)_[0-9]+")

OPTIMISERS = {
    "adam": Optimiser("Adam"),
    "adamw": Optimiser("AdamW"),
    "sgd": Optimiser("SGD", parameters(momentum=(NonNegative, 0.0), nesterov=(bool, False))),
}

#: Of the learning rate, beside a constant one (equigrid.training.optimisation).
SCHEDULES: dict[str, type[BaseModel]] = {
    "constant": Parameters,
    "linear": parameters(to=(NonNegative, 0.0), over=(Annotated[Size | None, Later()], None)),
    "exponential": parameters(to=(Positive, ...), over=(Annotated[Size | None, Later()], None)),
    "plateau": parameters(factor=(Annotated[float, Field(gt=0, lt=1)], 0.1), patience=(Size, 10)),
}

DATASETS = {
    "arrays": "equigrid.datasets.arrays:LabelledArrays",
    "cifar10": "equigrid.datasets.cifar10:CIFAR10",
    "ddmnist": "equigrid.datasets.ddmnist:DDMNIST",
    "medmnist3d": "equigrid.datasets.medmnist3d:MedMNIST3D",
    "mnist": "equigrid.datasets.mnist:MNIST",
    "smoke": "equigrid.datasets.smoke:Smoke",
    "spherical_mnist": "equigrid.datasets.spherical_mnist:SphericalMNIST",
    "typefaces": "equigrid.datasets.typefaces:Typefaces",
}
