"""What a dataset is to the pipeline: a builder makes its arrays, a resident one serves batches."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from equigrid.datasets.pairs import ANY_PAIRS, Pairs
from equigrid.datasets.raw import RawFile, RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.lookup import load
from equigrid.parameters import Parameters
from equigrid.symmetry import FiniteGroup

if TYPE_CHECKING:
    from equigrid.datasets.resident import Dataset


__all__ = ["Builder", "Pairs", "Parameters", "fixed_views", "random_stream"]


class Builder(ABC):
    """One kind of dataset. Subclass it in one file and name it in the registry or a search space.

    version: increment it when the same parameters give other arrays.
    task: what targets are, see equigrid.objectives.task. metrics: those a column may show.
    validation_metrics: those measured on validation after every epoch, besides the loss.
    test_splits: the splits a column may name; the validation split is always `val`.
    pairs: how the inputs are drawn that an objective compares.
    dataset_class: `module:Class` of its Dataset, called as (builder, arrays, device); by name,
    for it imports torch. A builder that writes `resident` itself needs none.

    Labelled images and volumes have it all in `ImageClassification`; of other inputs:

    >>> import numpy as np
    >>> from equigrid import Builder, Parameters, random_stream
    >>> class Signals(Builder):
    ...     class Parameters(Parameters):
    ...         samples: int = 100
    ...
    ...     train_size = property(lambda self: self.parameters.samples)
    ...     input_shape, outputs = (1, 32), 3
    ...     dataset_class = "signals:ResidentSignals"  # beside it, a `Dataset`
    ...
    ...     def build(self, raw, progress):
    ...         stream = random_stream(0, "train")
    ...         return {"train/signals": stream.normal(size=(self.train_size, 1, 32))}
    ...
    ...     def augment(self, base, progress):
    ...         return {}
    """

    version: ClassVar[int] = 1
    task: ClassVar[str] = "classification"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    validation_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    test_splits: ClassVar[tuple[str, ...]] = ("test",)
    Parameters: ClassVar[type[BaseModel]] = Parameters
    dataset_class: ClassVar[str] = ""

    pairs: Pairs = ANY_PAIRS

    def __init__(self, parameters: Any, group: FiniteGroup) -> None:
        """Raises ValueError where the parameters and the group do not go together."""
        self.parameters = parameters
        self.group = group

    @property
    @abstractmethod
    def train_size(self) -> int:
        """Training samples an epoch."""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """(channels, *grid) of an input; None where only the arrays tell, and nobody checks."""
        return None

    @property
    def least_bytes(self) -> int:
        """What the arrays take in memory at the least: a byte a value of the training inputs."""
        return self.train_size * math.prod(self.input_shape or (1,))

    @property
    def drawn_tests(self) -> Mapping[str, int]:
        """Of the test splits whose samples the data seed draws, how many; nothing of official ones.

        All trials share that draw: a score's spread over seeds leaves out what another would give.
        """
        return {}

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        """The raw files the build reads from the raw folder."""
        return ()

    def raw_fingerprints(self, raw: RawStore) -> dict[str, str]:
        """SHA-256 of the content of everything raw that the build reads."""
        return {file.name: raw.fingerprint(file) for file in self.raw_files}

    @abstractmethod
    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        """The base arrays, from the raw files."""

    @abstractmethod
    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        """What is expensive about the group's action: an orbit, or gather indices."""

    def resident(self, arrays: Arrays, device: str) -> Dataset:
        """The dataset on a device, from the arrays of `build` and `augment` together."""
        found: Dataset = load(self.dataset_class)(self, arrays, device)
        return found


def check_builder(builder: Builder) -> None:
    """Raise ValueError where a builder says of its dataset what none can be."""
    size, shape = builder.train_size, builder.input_shape
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"train_size is {size!r}: expected a number of samples, at least 1")
    sizes = isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)
    if shape is not None and not (sizes and shape):
        raise ValueError(f"input_shape is {shape!r}: expected (channels, *grid)")
    for name in ("metrics", "validation_metrics", "test_splits"):
        value = getattr(builder, name)
        if not isinstance(value, tuple) or not all(isinstance(each, str) for each in value):
            raise ValueError(f"{name} is {value!r}: expected a tuple of names")
    if not builder.dataset_class and type(builder).resident is Builder.resident:
        raise ValueError("it lacks resident: see equigrid.datasets.builder")
    if not builder.test_splits or "val" in builder.test_splits:
        raise ValueError(f"test_splits is {builder.test_splits!r}: expected names other than val")


def checked_arrays(found: Any) -> Arrays:
    """What a builder gave, if it is arrays of numbers by name; TypeError says what is none."""
    if not isinstance(found, Mapping):
        raise TypeError(f"expected arrays by name, got {type(found).__name__}")
    for name, array in found.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray):
            raise TypeError(f"{name!r} is of type {type(array).__name__}, not an array")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name!r} holds {array.dtype}, not numbers")
    return found


def random_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Make an independent NumPy stream for each name: order and concurrency change nothing.

    >>> from equigrid import random_stream
    >>> int(random_stream(0, "train").integers(100)), int(random_stream(0, "test").integers(100))
    (35, 62)
    """
    text = "/".join(map(str, (seed, *names)))
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))
    )


def fixed_views(
    seed: int,
    split: str,
    size: int,
    elements: int,
    draws: int,
    pairs: Pairs = ANY_PAIRS,
) -> Mapping[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Draw the elements and artefacts that an evaluation split keeps, fixed by the data seed.

    `SPLIT/elements`, `SPLIT/draws` ([size], below `elements` and `draws`) make x1 = a·x;
    `SPLIT/pair_elements`, `SPLIT/pair_draws` make x2 = g·x1.

    >>> from equigrid import fixed_views
    >>> views = fixed_views(seed=0, split="val", size=5, elements=4, draws=1)
    >>> sorted(views), views["val/elements"].shape
    (['val/draws', 'val/elements', 'val/pair_draws', 'val/pair_elements'], (5,))
    """
    stream = random_stream(seed, "views", split)
    found = {
        f"{split}/{name}": stream.integers(bound, size=size, dtype=np.int64)
        for name, bound in (
            ("elements", elements),
            ("draws", draws),
            ("pair_elements", elements),
            ("pair_draws", draws),
        )
    }
    if pairs.weights is not None:
        shares = np.array(pairs.weights) / sum(pairs.weights)
        found[f"{split}/pair_elements"] = stream.choice(elements, size, p=shares).astype(np.int64)
    if not pairs.moves_first:
        found[f"{split}/elements"] = np.zeros(size, np.int64)
    if pairs.shares_draws:
        found[f"{split}/pair_draws"] = found[f"{split}/draws"]
    return found
