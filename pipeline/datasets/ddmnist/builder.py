"""Double digits (DDMNIST): two digits on one canvas, each under its own copy of a group."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from equigrid.datasets.builder import fixed_views, random_stream
from equigrid.datasets.digits import SOURCES, DigitBuilder, Digits
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters
from equigrid.symmetry import FiniteGroup, grid_action, is_exact_on_grids

Positive = Annotated[int, Field(ge=1, le=1_000_000)]


class PerLabel(BaseModel):
    """Pairs drawn for each of the labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train: Positive = 100
    val: Positive = 20
    test: Positive = 50


class Artefacts(BaseModel):
    """Interpolation artefacts: rotate by a random s, then by (90k − s).

    draws: independent draws kept per digit and element.
    variant: `released` leaves out the −s, as the originators' C4 does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    draws: Positive = 4
    variant: Literal["paper", "released"] = "paper"


class DDMNISTParameters(Parameters):
    """source: of the digits. digits: how many classes of digit, 0 … digits−1; labels are pairs.

    evaluation_digits: `shared` draws validation and test pairs from all held-out digits, as
    published; `disjoint` from separate halves of them. mean, std: the normalisation.
    seed: fixes the pairs, their order, the artefacts and the views of evaluation splits.
    """

    source: Literal["mnist", "digits"] = "mnist"
    digits: Annotated[int, Field(ge=2, le=10)] = 10
    per_label: PerLabel = PerLabel()
    artefacts: Artefacts | None = None
    evaluation_digits: Literal["shared", "disjoint"] = "shared"
    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.06535
    std: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5551
    seed: Annotated[int, Field(ge=0)] = 0


class DDMNIST(DigitBuilder):
    """The data of table 4: `experiments` of double digits under H × H.

    Arrays: `SPLIT/digits` uint8 [n, 2, side, side], `SPLIT/labels` int64 [n]; then either
    `action` int64 [|H|, side²] (exact) or `SPLIT/orbit` uint8 [n, 2, |H|, R, side, side].
    """

    version = 1
    dataset_class = "equigrid.datasets.ddmnist.resident:ResidentDDMNIST"
    test_splits = ("test_augmented", "test")
    Parameters = DDMNISTParameters
    parameters: DDMNISTParameters

    def __init__(self, parameters: DDMNISTParameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        factors = group.factors
        if len(factors) != 2 or factors[0].name != factors[1].name:
            raise ValueError(f"group {group.name}: two digits need a product H x H, such as C4xC4")
        self.factor = factors[0]
        if parameters.artefacts is None and not is_exact_on_grids(self.factor):
            raise ValueError(f"group {group.name} is not exact on pixels: set artefacts")
        if self.factor.matrices is None or self.factor.matrices.shape[1] != 2:
            raise ValueError(f"group {group.name} does not act on the plane")
        self.source = SOURCES[parameters.source]

    @property
    def labels(self) -> int:
        return self.parameters.digits**2

    @property
    def train_size(self) -> int:
        return self.labels * self.parameters.per_label.train

    @property
    def drawn_tests(self) -> dict[str, int]:
        return dict.fromkeys(self.test_splits, self.labels * self.parameters.per_label.test)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, 2 * self.source.side, 2 * self.source.side)

    @property
    def least_bytes(self) -> int:
        """Digits apart, and of each its orbit of artefacts."""
        copies = (
            self.factor.order * self.parameters.artefacts.draws if self.parameters.artefacts else 1
        )
        sizes = self.parameters.per_label
        pairs = self.labels * (sizes.train + sizes.val + sizes.test)
        return pairs * 2 * copies * self.source.side**2

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        """Pairs by label (tens · digits + units), drawn uniformly with replacement per split."""
        digits = self.source.load(raw)
        arrays: dict[str, Any] = {}
        for done, split in enumerate(("train", "val", "test")):
            progress(done, 3)
            images, labels = self._pool(digits, split)
            members = [np.flatnonzero(labels == digit) for digit in range(self.parameters.digits)]
            if empty := [digit for digit, rows in enumerate(members) if len(rows) == 0]:
                raise InputError(f"builder ddmnist: no digit {empty[0]} among the {split} digits")
            count = getattr(self.parameters.per_label, split)
            stream = random_stream(self.parameters.seed, "pairs", split)
            pairs = np.empty((self.labels, count, 2), np.int64)
            for label in range(self.labels):
                for slot, digit in enumerate(divmod(label, self.parameters.digits)):
                    rows = members[digit]
                    pairs[label, :, slot] = rows[stream.integers(len(rows), size=count)]
            arrays[f"{split}/digits"] = images[pairs.reshape(-1, 2)]
            arrays[f"{split}/labels"] = np.repeat(np.arange(self.labels), count)
        progress(3, 3)
        return arrays

    def _pool(self, digits: Digits, split: str) -> tuple[Any, Any]:
        if split == "train":
            return digits.train_images, digits.train_labels
        if self.parameters.evaluation_digits == "shared":
            return digits.test_images, digits.test_labels
        half = slice(0, None, 2) if split == "val" else slice(1, None, 2)
        return digits.test_images[half], digits.test_labels[half]

    @property
    def draws(self) -> int:
        """Artefact draws of a pair: R for each of its digits."""
        return self.parameters.artefacts.draws**2 if self.parameters.artefacts else 1

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        arrays: dict[str, Any] = {}
        for split in ("val", "test"):
            size = len(base[f"{split}/labels"])
            arrays |= fixed_views(self.parameters.seed, split, size, self.group.order, self.draws)
        if self.parameters.artefacts is None:
            side = self.source.side
            arrays["action"] = grid_action(self.factor, (side, side))
            return arrays
        from equigrid.datasets.rotation import orbit_with_artefacts

        total = sum(len(base[f"{split}/labels"]) for split in ("train", "val", "test"))
        done = 0
        for split in ("train", "val", "test"):
            images = base[f"{split}/digits"]
            slots, draws = images.shape[:2], self.parameters.artefacts.draws
            orbit = np.empty((*slots, self.factor.order, draws, *images.shape[2:]), np.uint8)
            stream = random_stream(self.parameters.seed, "artefacts", split)
            for start in range(0, len(images), 500):
                chunk = images[start : start + 500]
                orbit[start : start + 500] = orbit_with_artefacts(
                    chunk,
                    self.factor,
                    stream.uniform(-np.pi, np.pi, size=orbit[start : start + 500].shape[:4]),
                    undo=self.parameters.artefacts.variant == "paper",
                )
                done += len(chunk)
                progress(done, total)
            arrays[f"{split}/orbit"] = orbit
        return arrays
