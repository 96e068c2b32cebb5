"""MNIST's digits projected onto the sphere, as coefficients of spherical harmonics."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from equigrid.datasets.builder import random_stream
from equigrid.datasets.digits import SOURCES, DigitBuilder
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters, Size
from equigrid.symmetry import FiniteGroup

#: Images that are projected at once.
TOGETHER = 500


class SphericalMNISTParameters(Parameters):
    """source: of the digits. train, val: how many of them an epoch has, and validate.

    test: how many of the test split's first digits, None all of them.
    train_turned: whether those of training and validation too are turned, each by a rotation of its
    own, uniform over SO(3); those of the test always are.
    bandwidth: of the grid that images are projected onto; degree: of the coefficients.
    seed: fixes which digits validate, and the rotations.
    """

    source: str = Field(default="mnist", pattern=f"^({'|'.join(SOURCES)})$")
    train: Size = 54_000
    val: Size = 6_000
    test: Size | None = None
    train_turned: bool = False
    bandwidth: Annotated[int, Field(ge=2, le=64)] = 30
    degree: Annotated[int, Field(ge=1, le=11)] = 10
    seed: Annotated[int, Field(ge=0)] = 0


class SphericalMNIST(DigitBuilder):
    """The data of table H: `train_turned` false is NR/R, true R/R (training / test).

    Arrays: `SPLIT/images` uint8 [n, side, side], `SPLIT/labels` [n] and, of what is turned,
    `SPLIT/rotations` [n, 3, 3]. The augmentation cache has their coefficients,
    `SPLIT/coefficients` float32 [n, (degree + 1)²], divided by the training mean of
    √Σ f²/(2l + 1). Nothing is moved while training: the group is C1.
    """

    version = 1
    task = "reconstruction"
    metrics = (
        "cosine", "weighted_cosine", "mse", "purity", "v_measure", "linear_accuracy",
        "knn_accuracy",
    )  # fmt: skip
    validation_metrics = ("cosine", "weighted_cosine", "mse")
    dataset_class = "equigrid.datasets.spherical_mnist.resident:ResidentSphericalMNIST"
    Parameters = SphericalMNISTParameters
    parameters: SphericalMNISTParameters

    def __init__(self, parameters: SphericalMNISTParameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        if group.order > 1:
            raise ValueError(f"group {group.name} does not act on spherical images; allowed: C1")
        if parameters.degree >= parameters.bandwidth:
            raise ValueError(
                f"degree {parameters.degree}: a grid of bandwidth {parameters.bandwidth} has "
                "degrees below it"
            )
        self.source = SOURCES[parameters.source]

    @property
    def train_size(self) -> int:
        return self.parameters.train

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, (self.parameters.degree + 1) ** 2)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        digits = self.source.load(raw)
        sizes, known = self.parameters, len(digits.train_images)
        test = len(digits.test_images) if sizes.test is None else sizes.test
        if sizes.train + sizes.val > known or test > len(digits.test_images):
            total = sizes.train + sizes.val
            raise InputError(
                f"builder spherical_mnist: train and val are {total} of {known} digits, "
                f"test {test} of {len(digits.test_images)}"
            )
        order = random_stream(sizes.seed, "split").permutation(known)
        parts = {"train": order[: sizes.train], "val": order[known - sizes.val :]}
        arrays: dict[str, NDArray[Any]] = {
            "test/images": digits.test_images[:test],
            "test/labels": digits.test_labels[:test],
        }
        for split, rows in parts.items():
            arrays |= {
                f"{split}/images": digits.train_images[rows],
                f"{split}/labels": digits.train_labels[rows],
            }
        for split in ("train", "val", "test"):
            if split == "test" or sizes.train_turned:
                arrays[f"{split}/rotations"] = self._rotations(
                    split, len(arrays[f"{split}/labels"])
                )
        progress(1, 1)
        return arrays

    def _rotations(self, split: str, count: int) -> NDArray[np.float64]:
        from equigrid.spherical.rotations import random_rotations  # e3nn takes a second

        return random_rotations(count, random_stream(self.parameters.seed, "rotations", split))

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        from equigrid.spherical.harmonics import Grid
        from equigrid.spherical.images import on_sphere

        grid = Grid(self.parameters.bandwidth)
        matrix = grid.analysis(self.parameters.degree).T
        splits = {name: base[f"{name}/images"] for name in ("train", "val", "test")}
        total, done, found = sum(map(len, splits.values())), 0, {}
        for name, images in splits.items():
            rotations, parts = base.get(f"{name}/rotations"), []
            for start in range(0, len(images), TOGETHER):
                some = slice(start, start + TOGETHER)
                turned = None if rotations is None else rotations[some]
                # One thread, in double: the same to the bit however many cores there are.
                with threadpool_limits(1):
                    parts.append(on_sphere(images[some], grid, turned) @ matrix)
                done += len(parts[-1])
                progress(done, total)
            found[name] = np.concatenate(parts)
        degrees = np.repeat(np.arange(self.parameters.degree + 1),
                            2 * np.arange(self.parameters.degree + 1) + 1)  # fmt: skip
        powers = (found["train"] ** 2 / (2 * degrees + 1)).sum(1)
        scale = np.sqrt(powers).mean()
        coefficients = {
            f"{name}/coefficients": (values / scale).astype(np.float32)
            for name, values in found.items()
        }
        return {**coefficients, "scale": np.array([scale])}
