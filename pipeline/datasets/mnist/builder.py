"""MNIST's digits, mirrored and turned at random; a group of the plane acts on what comes of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from equigrid.datasets.builder import Pairs, fixed_views, random_stream
from equigrid.datasets.digits import SOURCES, DigitBuilder
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters, Size
from equigrid.symmetry import FiniteGroup

#: Steps of an angle.
STEPS = 2**24


class MNISTParameters(Parameters):
    """source: of the digits. train: how many of them an epoch has; val: how many validate.

    turned: x1 is mirrored with probability ½ and then turned by any angle (the paper), or only
    mirrored (the authors' code).
    seed: fixes which digits validate, and the pairs of evaluation splits.
    """

    source: Literal["mnist", "digits"] = "mnist"
    train: Size = 54_000
    val: Size = 6_000
    turned: bool = True
    seed: Annotated[int, Field(ge=0)] = 0


class MNIST(DigitBuilder):
    """The data of table 2: with probability ½ x2 is x1 turned, with ½ it is x1 mirrored.

    Arrays: `SPLIT/images` uint8 [n, side, side]. The test split is the official one. One bilinear
    interpolation a view; what comes from outside the image is 0.
    """

    version = 1
    task = "reconstruction"
    metrics = ()
    validation_metrics = ()
    dataset_class = "equigrid.datasets.mnist.resident:ResidentMNIST"
    Parameters = MNISTParameters
    parameters: MNISTParameters

    def __init__(self, parameters: MNISTParameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        if group.matrices is None or group.matrices.shape[1] != 2:
            raise ValueError(f"group {group.name} does not act on the plane")
        if group.order < 2:
            raise ValueError(f"group {group.name} has nothing to act with")
        self.source = SOURCES[parameters.source]
        mirrors = np.linalg.det(group.matrices) < 0
        turns = ~mirrors
        turns[0] = False
        weights = turns / max(1, turns.sum())
        if mirrors.any():  # only the first, left to right
            weights[mirrors.argmax()] = 1
        self.pairs = Pairs(tuple(map(float, weights)), moves_first=False, shares_draws=True)

    @property
    def train_size(self) -> int:
        return self.parameters.train

    @property
    def draws(self) -> int:
        return 2 * STEPS if self.parameters.turned else 2

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, self.source.side, self.source.side)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        digits = self.source.load(raw)
        sizes, known = self.parameters, len(digits.train_images)
        if sizes.train + sizes.val > known:
            total = sizes.train + sizes.val
            raise InputError(f"builder mnist: train and val are {total} of {known} digits")
        order = random_stream(sizes.seed, "split").permutation(known)
        progress(1, 1)
        return {
            "train/images": digits.train_images[order[: sizes.train]],
            "val/images": digits.train_images[order[known - sizes.val :]],
            "test/images": digits.test_images,
        }

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        arrays: dict[str, Any] = {}
        for split in ("val", "test"):
            arrays |= fixed_views(
                self.parameters.seed, split, len(base[f"{split}/images"]), self.group.order,
                self.draws, self.pairs,
            )  # fmt: skip
        return arrays
