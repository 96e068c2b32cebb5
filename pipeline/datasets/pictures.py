"""A few inputs of a dataset and their orbits, to look at. Nothing is trained on these."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from numpy.typing import NDArray

from pipeline.datasets.resident import Dataset
from pipeline.symmetry import FiniteGroup

#: Of generators; `e` is the identity.
LETTERS = "abcdfghijklmnopqrstuvwxyz"
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


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
    words = words_of(dataset.group, elements)
    size = dataset.size(source)
    samples = min(samples, size)
    chosen = torch.tensor([(2 * n + 1) * size // (2 * samples) for n in range(samples)])
    rows = chosen.repeat_interleave(len(words))
    at = torch.tensor(list(words)).repeat(samples)
    pictures = dataset.pictures(dataset.view(source, rows, at, torch.zeros_like(rows)))
    if pictures is None:
        return None
    targets = dataset.targets(source, chosen)
    return Orbits(
        pictures.reshape(samples, len(words), *pictures.shape[1:]).numpy(),
        tuple(dataset.label(target) for target in targets),
        tuple(words.values()),
    )


def words_of(group: FiniteGroup, count: int) -> dict[int, str]:
    """The identity and the elements nearest to it, {element: word}; in `ba` b comes after a."""
    words = {0: ""}
    reached = [0]
    for element in reached:  # grows on the way: breadth first
        for letter, generator in zip(LETTERS, group.generators, strict=False):
            product = int(group.table[generator, element])
            if product not in words:
                words[product] = letter + words[element]
                reached.append(product)
    return {element: _power(words[element]) or "e" for element in reached[:count]}


def _power(word: str) -> str:
    """`aab` → `a²b`."""
    runs = [(letter, len(list(run))) for letter, run in groupby(word)]
    return "".join(
        letter + (str(length).translate(SUPERSCRIPTS) if length > 1 else "")
        for letter, length in runs
    )
