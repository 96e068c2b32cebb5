"""Datasets resident on a device: whole batches by gather, no loader."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.datasets.pairs import ANY_PAIRS, Pairs
from equigrid.datasets.store import Arrays
from equigrid.symmetry import FiniteGroup

#: Samples, and numbers of their inputs, that an evaluation takes at once: memory, not results.
EVALUATION_BATCH, EVALUATION_NUMBERS = 500, 2**21


@dataclass(frozen=True)
class FixedViews:
    """Elements and draws of an evaluation split, [n] int64 each: x1 = a·x, x2 = g·x1."""

    elements: Tensor
    draws: Tensor
    pair_elements: Tensor
    pair_draws: Tensor


class Dataset(ABC):
    """What training and evaluation read: a builder's arrays on a device.

    >>> import equigrid
    >>> dataset = equigrid.open_experiment("quickstart").open_run("Ours/C4").dataset
    >>> dataset.plain("test", torch.tensor([0, 1])).shape, dataset.outputs, dataset.group.order
    (torch.Size([2, 1, 16, 16]), 4, 4)

    A `source` is a set of base samples (`train`, `val`, `test`); a split is a source seen plainly
    or, where `views` has it, at fixed group elements.
    outputs: classes, or channels of a field. metrics: of evaluations, besides the loss.
    draws: independent draws of artefacts per element (1 where the action is exact).
    pairs: as the Builder's.
    """

    group: FiniteGroup
    task: str
    input_shape: tuple[int, ...]
    outputs: int
    metrics: tuple[str, ...] = ("accuracy",)
    draws: int
    sources: Mapping[str, str]
    views: Mapping[str, FixedViews]
    pairs: Pairs = ANY_PAIRS

    @abstractmethod
    def targets(self, source: str, rows: Tensor) -> Tensor:
        """[b] sample numbers → targets."""

    def new_inputs(self, arrays: Mapping[str, NDArray[Any]]) -> Tensor:
        """Inputs [n, *input_shape] that are not among its samples, from arrays by name.

        `inputs`: as the network reads them. ValueError says what else is allowed.
        """
        inputs = arrays.get("inputs")
        wanted = ", ".join(map(str, ("n", *self.input_shape)))
        if inputs is None:
            raise ValueError(f"it has {', '.join(arrays)}; allowed: inputs [{wanted}]")
        if inputs.shape[1:] != self.input_shape:
            raise ValueError(f"inputs are {list(inputs.shape)}, expected [{wanted}]")
        return torch.from_numpy(inputs.astype(np.float32))

    def labels(self, source: str, rows: Tensor) -> Tensor:
        """What probes of latents are to tell of samples: their targets, unless there is better."""
        return self.targets(source, rows)

    @abstractmethod
    def plain(self, source: str, rows: Tensor) -> Tensor:
        """[b] sample numbers → inputs [b, *input_shape], untransformed."""

    @abstractmethod
    def view(self, source: str, rows: Tensor, elements: Tensor, draws: Tensor) -> Tensor:
        """[b] sample numbers, group elements and draws → inputs e·x [b, *input_shape]."""

    @abstractmethod
    def size(self, source: str) -> int:
        """Samples of a source."""

    def moved_targets(self, source: str, rows: Tensor, elements: Tensor) -> Tensor:
        """[b] sample numbers and elements → targets e·y; of a classification the targets alone."""
        return self.targets(source, rows)

    def targets_of(self, source: str, rows: Tensor, x: Tensor) -> Tensor:
        """Targets of views x of samples: the samples' own, or what the view makes of them."""
        return self.targets(source, rows)

    def chunks(self, source: str, device: torch.device | str) -> tuple[Tensor, ...]:
        """The sample numbers of a source in the parts that an evaluation takes at once."""
        length = min(EVALUATION_BATCH, max(1, EVALUATION_NUMBERS // math.prod(self.input_shape)))
        return torch.split(torch.arange(self.size(source), device=device), length)

    @property
    def composition(self) -> NDArray[np.int64]:
        """[n, n]: the element that moves an input as h first, then g do; gh of a left action."""
        return self.group.table

    def pictures(self, inputs: Tensor, like: Tensor | None = None) -> Tensor | None:
        """Inputs [b, *input_shape] → greys [b, rows, columns] or colours [..., 3], from 0 to 1.

        For a report's reader: a volume gives a slice, a field the speed of its last frame. None
        shows nothing. like: inputs whose brightest is white, where brightness has no bound.
        """
        return None

    def label(self, target: Tensor) -> str:
        """One target, as a person would name it."""
        return f"class {int(target)}" if self.task == "classification" else ""


def on_device(array: NDArray[Any], device: str) -> Tensor:
    """Put an array on a device; on the CPU the tensor shares its (possibly mapped) memory.

    >>> import numpy as np
    >>> from equigrid import on_device
    >>> on_device(np.arange(3), "cpu")
    tensor([0, 1, 2])
    """
    with warnings.catch_warnings():
        # The cache is mapped read-only and only ever gathered from.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)


def read_views(arrays: Arrays, split: str, device: str) -> FixedViews:
    """Put what `fixed_views` drew for a split on a device: tensors [size].

    >>> from equigrid import fixed_views, read_views
    >>> arrays = fixed_views(seed=0, split="val", size=5, elements=4, draws=1)
    >>> read_views(arrays, "val", "cpu").elements.shape
    torch.Size([5])
    """
    return FixedViews(
        *(
            on_device(arrays[f"{split}/{name}"], device)
            for name in ("elements", "draws", "pair_elements", "pair_draws")
        )
    )
