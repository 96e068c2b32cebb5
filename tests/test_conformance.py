"""Our own parts, by the cases that parts of one's own inherit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from equigrid.datasets.resident import Dataset
from equigrid.registry import METRICS, MODELS, OBJECTIVES, TASKS
from equigrid.symmetry import grid_action
from equigrid.testing import DatasetCase, MetricCase, ModelCase, ObjectiveCase, TaskCase
from equigrid.testing.small import DIGITS

FLOWS: dict[str, Any] = {
    "builder": "smoke", "group": "C4", "grid": 8, "steps": 35, "simulations": 2, "train": [1],
    "domain": [2],
    "starts": {"train": [0, 4], "val": [0, 4], "future": [0, 2], "domain": [0, 2]},
}  # fmt: skip
TURNED = {"builder": "mnist", "group": "D3", "source": "digits", "train": 60, "val": 20}
SPHERICAL = {
    "builder": "spherical_mnist", "source": "digits", "train": 40, "val": 10, "test": 10,
    "train_turned": True, "bandwidth": 5, "degree": 2,
}  # fmt: skip
FIELD_CNN = {"field_cnn": {"width": 4}}
RINGS = Path(__file__).parents[1] / "examples" / "rings"


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


class TestDDMNISTCNN(ModelCase):
    model = {"ddmnist_cnn": {"width": 2, "latent": 8}}
    input_shape = (1, 56, 56)


class TestSmallCNN(ModelCase):
    model = {"small_cnn": {"width": 4, "latent": 8}}


class TestResNet3D(ModelCase):
    model = {"resnet3d": {"width": 2, "latent": 8}}
    input_shape = (1, 14, 14, 14)


class TestFieldCNN(ModelCase):
    model = FIELD_CNN
    input_shape, outputs = (20, 8, 8), 2


class TestFieldMLP(ModelCase):
    model = {"field_mlp": {"latent": 6}}
    input_shape, outputs = (20, 8, 8), 2


class TestConvAutoencoder(ModelCase):
    model = {"conv_autoencoder": {"latent": 6}}


class TestMLPAutoencoder(ModelCase):
    model = {"mlp_autoencoder": {"latent": 6}}


class TestHolographicAutoencoder(ModelCase):
    model = {"holographic_autoencoder": {"latent": 4, "degrees": [2, 1], "channels": [3, 3]}}
    input_shape = (1, 9)
    unused = frozenset({"log_variance.weight", "log_variance.bias"})  # of an autoencoder's loss


class TestHolographicAutoencoderAsPublished(TestHolographicAutoencoder):
    model = {
        "holographic_autoencoder": {
            "latent": 4, "degrees": [2, 1], "channels": [3, 3], "affine": True, "variational": False
        }
    }  # fmt: skip
    unused = frozenset()


class TestGELUCNN(ModelCase):
    model = {"gelu_cnn": {"width": 4, "latent": 8}}


class TestSteerableCNN(ModelCase):
    model = {"steerable_cnn": {"width": 1, "latent": 8}}
    group = "D4"


class TestResidualPathwayCNN(ModelCase):
    model = {"residual_pathway_cnn": {"width": 1, "latent": 8}}
    group = "D4"


class TestPartiallySteerableCNN(ModelCase):
    model = {"partially_steerable_cnn": {"width": 1, "latent": 8}}
    group = "D4"


class TestSteerableResNet3D(TestResNet3D):
    model = {"steerable_resnet3d": {"width": 1, "latent": 8}}


class TestResidualPathwayResNet3D(TestResNet3D):
    model = {"residual_pathway_resnet3d": {"width": 1, "latent": 8}}


class TestPartiallySteerableResNet3D(TestResNet3D):
    model = {"partially_steerable_resnet3d": {"width": 1, "latent": 8}}


class TestSteerableFieldCNN(TestFieldCNN):
    model = {"steerable_field_cnn": {"width": 4}}


class TestResidualPathwayFieldCNN(TestFieldCNN):
    model = {"residual_pathway_field_cnn": {"width": 4}}


class TestRelaxedSteerableFieldCNN(TestFieldCNN):
    model = {"relaxed_steerable_field_cnn": {"width": 4}}


class TestPartiallySteerableFieldCNN(TestFieldCNN):
    model = {"partially_steerable_field_cnn": {"width": 4}}


class TestLiftFieldCNN(TestFieldCNN):
    model = {"lift_field_cnn": {"width": 4}}


class TestRelaxedGroupFieldCNN(TestFieldCNN):
    model = {"relaxed_group_field_cnn": {"width": 4}}


class TestDoubleDigits(DatasetCase):
    dataset = DIGITS

    def act(self, data: Dataset, elements: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Each half of the canvas by its own element of D1."""
        action = torch.from_numpy(grid_action(data.group.factors[0], (8, 8)).copy())
        moved = x.clone()
        for half, mine in enumerate((elements // 2, elements % 2)):
            part = x[:, 0, 4:12, 8 * half : 8 * half + 8].reshape(len(x), -1)
            turned = part.gather(1, action[mine]).reshape(len(x), 8, 8)
            moved[:, 0, 4:12, 8 * half : 8 * half + 8] = turned
        return moved


class TestDoubleDigitsWithArtefacts(DatasetCase):
    dataset = {**DIGITS, "group": "C3xC3", "artefacts": {"draws": 2}}
    exact = False


class TestTurnedDigits(DatasetCase):
    dataset = TURNED
    exact = False


class TestSphericalDigits(DatasetCase):
    dataset = SPHERICAL


class TestSmoke(DatasetCase):
    dataset = FLOWS


class TestUnaugmented(ObjectiveCase):
    objective = "unaugmented"


class TestAugmented(ObjectiveCase):
    objective = "augmented"


class TestRegularRepresentation(ObjectiveCase):
    objective = {"regular_representation": {"task_weights": "released"}}
    point = {"lr": 3e-3, "lambda": 0.5}


class TestTwoViews(ObjectiveCase):
    objective = "two_views"


class TestLearnedRepresentation(ObjectiveCase):
    objective = {"learned_representation": {"relations": {"a^3 = e": 0.5, "b^2 = e": 0.5}}}
    model, dataset = TestMLPAutoencoder.model, TURNED


class TestLearnedRepresentationOfClasses(ObjectiveCase):
    objective = "learned_representation"


class TestAutoencoding(ObjectiveCase):
    objective = {"autoencoding": {"warm_up": 1, "rise": 2}}
    point = {"lr": 3e-3, "alpha": 50.0, "beta": 0.5}
    model, dataset = TestHolographicAutoencoder.model, SPHERICAL


class TestAlgebraAlone(ObjectiveCase):
    objective = {"algebra_alone": {"start": "scaled_normal"}}
    model, dataset = {"no_network": {"latent": 6}}, TURNED


class _Fields(ObjectiveCase):
    model, dataset = FIELD_CNN, FLOWS


class TestAutoregressive(_Fields):
    objective = "autoregressive"


class TestAutoregressiveAugmented(_Fields):
    objective = "autoregressive_augmented"


class TestAutoregressiveRegularRepresentation(_Fields):
    objective = "autoregressive_regular_representation"
    point = {"lr": 3e-3, "lambda": 0.1}


class TestAccuracy(MetricCase):
    metric = "accuracy"
    good = torch.eye(4), torch.arange(4)
    bad = torch.eye(4), torch.tensor([0, 1, 3, 2])


class TestAUC(TestAccuracy):
    metric = "auc"


class TestRMSE6(MetricCase):
    metric = "rmse_6"
    good = noise(3, 20, 2, 4, 4), noise(3, 20, 2, 4, 4) + 0.1
    bad = noise(3, 20, 2, 4, 4), noise(3, 20, 2, 4, 4) + 1


class TestRMSE20(TestRMSE6):
    metric = "rmse_20"


class TestMeanSquare(MetricCase):
    metric = "mse"
    good = noise(5, 1, 9), noise(5, 1, 9) + 0.1
    bad = noise(5, 1, 9), noise(5, 1, 9).flip(0)


class TestCosine(TestMeanSquare):
    metric = "cosine"


class TestWeightedCosine(TestMeanSquare):
    metric = "weighted_cosine"


class TestPurity(MetricCase):
    metric = "purity"
    good = torch.eye(3).repeat(5, 1), torch.arange(15) % 3
    bad = torch.eye(3).repeat(5, 1), torch.arange(15) // 5


class TestVMeasure(TestPurity):
    metric = "v_measure"


class TestLinearAccuracy(TestPurity):
    metric = "linear_accuracy"


class TestKNNAccuracy(TestPurity):
    metric = "knn_accuracy"


class TestClassification(TaskCase):
    task = "classification"
    outputs, targets = noise(5, 4), torch.tensor([0, 1, 2, 3, 0])


class TestAutoregression(TaskCase):
    task = "autoregression"
    outputs, targets = noise(5, 6, 2, 4, 4), noise(5, 6, 2, 4, 4).flip(0)


class TestReconstruction(TaskCase):
    task = "reconstruction"
    outputs, targets = noise(5, 1, 4, 4), noise(5, 1, 4, 4).flip(0)


@pytest.fixture(autouse=True, scope="module")
def _beside_the_example() -> Any:
    sys.path.insert(0, str(RINGS))
    yield
    sys.path.remove(str(RINGS))


class TestRings(DatasetCase):
    dataset = {"builder": "rings:Rings", "group": "C6", "samples": 20}

    def act(self, data: Dataset, elements: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([it.roll(2 * int(e), 1) for it, e in zip(x, elements, strict=True)])


class TestPerceptron(ModelCase):
    model = {"learned:Perceptron": {"latent": 6}}
    input_shape, outputs = (2, 12), 2


class TestLearnedTurn(ObjectiveCase):
    objective = {"learned:LearnedTurn": {"warmup": 2}}
    point = {"lr": 3e-3, "lambda": 1.0, "beta": 1.0}
    model, dataset = TestPerceptron.model, TestRings.dataset


class TestRegression(TaskCase):
    task = "regression:Regression"
    outputs, targets = noise(5, 2), noise(5, 2).flip(0)


class TestMeanAbsoluteError(MetricCase):
    metric = "regression:MeanAbsoluteError"
    good = noise(5, 2), noise(5, 2) + 0.1
    bad = noise(5, 2), noise(5, 2) - 1


class TestNearestNeighbour(MetricCase):
    metric = "neighbours:NearestNeighbour"
    good = noise(5, 3), noise(5, 2)
    bad = noise(5, 3), noise(5, 2) + 1


def test_every_packaged_part_has_its_case() -> None:
    cases = [it for it in globals().values() if isinstance(it, type)]

    def names(attribute: str) -> set[str]:
        found = [vars(it).get(attribute) for it in cases]
        return {next(iter(it)) if isinstance(it, dict) else it for it in found if it}

    networks = {name for name, entry in MODELS.items() if not entry.trivial} - {"no_network"}
    assert networks <= names("model")
    assert set(OBJECTIVES) <= names("objective")
    assert set(METRICS) <= names("metric")
    assert set(TASKS) <= names("task")
