"""A few inputs of a dataset and their orbits, to look at. Nothing is trained on these."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from numpy.typing import NDArray

from equigrid.datasets.resident import Dataset
from equigrid.symmetry.words import words_of, written


@dataclass(frozen=True)
class Orbits:
    """images: [samples, elements, rows, columns] greys or [..., 3] colours, in [0, 1].

    labels: of the samples. elements: as words in the group's generators.
    """

    images: NDArray[Any]
    labels: tuple[str, ...]
    elements: tuple[str, ...]


def orbits(
    dataset: Dataset, source: str = "train", samples: int = 3, elements: int = 8
) -> Orbits | None:
    """Samples spread over a source, each at the group's first elements.

    None where the dataset's inputs have no picture.
    """
    words = dict(islice(words_of(dataset.group).items(), elements))
    size = dataset.size(source)
    samples = min(samples, size)
    chosen = torch.tensor([(2 * n + 1) * size // (2 * samples) for n in range(samples)])
    rows = chosen.repeat_interleave(len(words))
    at = torch.tensor(list(words)).repeat(samples)
    draws = torch.zeros(samples, dtype=torch.int64)
    if dataset.pairs.shares_draws:  # a frame, such as an angle: another one for each sample
        draws = torch.randint(dataset.draws, (samples,), generator=torch.Generator().manual_seed(0))
    seen = dataset.view(source, rows, at, draws.repeat_interleave(len(words)))
    pictures = dataset.pictures(seen)
    if pictures is None:
        return None
    targets = dataset.targets(source, chosen)
    return Orbits(
        pictures.reshape(samples, len(words), *pictures.shape[1:]).numpy(),
        tuple(dataset.label(target) for target in targets),
        tuple(map(written, words.values())),
    )
