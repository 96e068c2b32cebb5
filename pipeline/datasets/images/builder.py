"""Labelled images and volumes under an exact action: subclass it and write `build`."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from equigrid.datasets.builder import Builder, fixed_views
from equigrid.datasets.store import Arrays, Progress
from equigrid.symmetry import FiniteGroup, grid_action

if TYPE_CHECKING:
    from equigrid.datasets.resident import Dataset


class ImageClassification(Builder):
    """Labelled images or volumes, moved by permutations of their pixels.

    `build` gives `SPLIT/images` uint8 [n, *input_shape] and `SPLIT/labels` for train, val, test.

    >>> import numpy as np
    >>> from equigrid import ImageClassification, Parameters, random_stream
    >>> class Spots(ImageClassification):
    ...     class Parameters(Parameters):
    ...         samples: int = 60
    ...
    ...     input_shape, outputs = (1, 8, 8), 2
    ...     train_size = property(lambda self: self.parameters.samples)
    ...
    ...     def build(self, raw, progress):
    ...         arrays = {}
    ...         for split in ("train", "val", "test"):
    ...             stream = random_stream(0, split)
    ...             labels = stream.integers(2, size=self.train_size)
    ...             images = stream.integers(128, size=(len(labels), 1, 8, 8), dtype=np.uint8)
    ...             images[:, 0, 0, 0] += 127 * labels.astype(np.uint8)
    ...             arrays |= {f"{split}/images": images, f"{split}/labels": labels}
    ...         return arrays

    outputs: classes. mean, std: of pixels in [0, 1].
    Test splits: `test` as it is, `test_augmented` at elements fixed by the data seed (the
    parameter `seed`, where there is one); validation is augmented likewise.
    """

    dataset_class = "equigrid.datasets.images.resident:ResidentImages"
    test_splits = ("test_augmented", "test")
    outputs: int
    mean: ClassVar[float] = 0.5
    std: ClassVar[float] = 0.5

    def __init__(self, parameters: Any, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        grid_action(group, self.input_shape[1:])  # refuses a group that does not act on the grid

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """(channels, rows, columns), or with three axes for volumes."""

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        """Gather indices [|G|, points] and the fixed views."""
        seed = getattr(self.parameters, "seed", 0)
        arrays: dict[str, Any] = {"action": grid_action(self.group, self.input_shape[1:])}
        for split in ("val", "test"):
            size = len(base[f"{split}/labels"])
            arrays |= fixed_views(seed, split, size, self.group.order, 1, self.pairs)
        return arrays

    def resident(self, arrays: Arrays, device: str) -> Dataset:
        self.check(arrays)
        return super().resident(arrays, device)

    def check(self, arrays: Arrays) -> None:
        """Raise ValueError where the images are not what the builder says of them."""
        for split in ("train", "val", "test"):
            images, labels = arrays[f"{split}/images"], arrays[f"{split}/labels"]
            if images.dtype != np.uint8 or images.shape != (len(labels), *self.input_shape):
                raise ValueError(
                    f"{split}/images is {images.dtype} {images.shape}, "
                    f"expected uint8 {(len(labels), *self.input_shape)}"
                )
