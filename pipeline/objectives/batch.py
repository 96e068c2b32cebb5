"""One training batch, its views made when an objective asks for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from equigrid.datasets.resident import Dataset


class Step:
    """Where a training is: epoch of epochs, step of the steps of an epoch; counted from 1.

    reads_epochs: whether anybody asked how many epochs there will be. What was trained then depends
    on it, and a longer training cannot go on from a shorter one.
    """

    def __init__(self, epoch: int = 1, epochs: int = 1, step: int = 1, steps: int = 1) -> None:
        self.epoch, self.step, self.steps = epoch, step, steps
        self._epochs, self.reads_epochs = epochs, False

    @property
    def epochs(self) -> int:
        self.reads_epochs = True
        return self._epochs


@dataclass(frozen=True)
class Batch:
    """rows: [b] sample numbers. a, g: [b] elements, x1 = a·x and x2 = g·x1 = (ga)·x.

    first_draw, second_draw: [b] draws of artefacts. composition: [n, n], the dataset's.
    """

    dataset: Dataset
    rows: Tensor
    a: Tensor
    g: Tensor
    first_draw: Tensor
    second_draw: Tensor
    composition: Tensor
    source: str = "train"
    step: Step = field(default_factory=Step)

    @cached_property
    def y(self) -> Tensor:
        return self.dataset.targets(self.source, self.rows)

    @cached_property
    def x(self) -> Tensor:
        return self.dataset.plain(self.source, self.rows)

    @cached_property
    def gx(self) -> Tensor:
        """g·x: the pair of an objective that takes no augmentation a."""
        return self.dataset.view(self.source, self.rows, self.g, self.second_draw)

    @cached_property
    def gy(self) -> Tensor:
        return self.dataset.moved_targets(self.source, self.rows, self.g)

    @cached_property
    def x1(self) -> Tensor:
        return self.dataset.view(self.source, self.rows, self.a, self.first_draw)

    @cached_property
    def y1(self) -> Tensor:
        return self.dataset.targets_of(self.source, self.rows, self.x1)

    @cached_property
    def y2(self) -> Tensor:
        return self.dataset.targets_of(self.source, self.rows, self.x2)

    @cached_property
    def x2(self) -> Tensor:
        product = self.composition[self.g, self.a]
        return self.dataset.view(self.source, self.rows, product, self.second_draw)
