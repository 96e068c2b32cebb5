"""Pictures of inputs and their orbits: the very inputs of training, at named elements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equigrid.datasets.images.builder import ImageClassification
from equigrid.datasets.pictures import orbits
from equigrid.datasets.raw import RawStore
from equigrid.datasets.resident import Dataset
from equigrid.datasets.store import Arrays, Progress
from equigrid.symmetry import FiniteGroup
from equigrid.symmetry.words import words_of


class Volumes(ImageClassification):
    """Coloured volumes of 3×4×4 voxels, reflected along their last axis."""

    outputs = 2
    input_shape = (3, 3, 4, 4)
    train_size = 5

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        voxels = np.random.default_rng(0).integers(256, size=(5, 3, 3, 4, 4)).astype(np.uint8)
        arrays: dict[str, Any] = {}
        for split in ("train", "val", "test"):
            arrays |= {f"{split}/images": voxels, f"{split}/labels": np.arange(5)}
        return arrays


def volumes(folder: Path, quiet: Progress) -> Dataset:
    mirror = np.stack([np.eye(3), np.diag([1.0, 1.0, -1.0])])
    builder = Volumes(None, FiniteGroup("mirror", np.array([[0, 1], [1, 0]]), (1,), mirror))
    base = builder.build(RawStore(folder), quiet)
    return builder.resident({**base, **builder.augment(base, quiet)}, "cpu")


def test_orbits_are_the_inputs_as_trained_on(
    double_digits: Callable[..., Dataset],
) -> None:
    dataset = double_digits("C4xC4", artefacts={"draws": 2})
    found = orbits(dataset, samples=3, elements=5)
    assert found is not None
    assert found.images.shape == (3, 5, 16, 16)
    assert found.images.min() >= 0
    assert 0.5 < found.images.max() <= 1
    elements = torch.tensor(list(words_of(dataset.group))[:5])
    rows = torch.full_like(elements, dataset.size("train") // 2)
    seen = dataset.view("train", rows, elements, torch.zeros_like(rows))[:, 0]
    # Normalisation is undone, and nothing else.
    shown = torch.from_numpy(found.images[1])
    ratio = torch.corrcoef(torch.stack([seen.flatten(), shown.flatten()]))[0, 1]
    assert ratio == pytest.approx(1, abs=1e-4)
    assert dataset.label(dataset.targets("train", rows)[0]) == found.labels[1]
    assert set(found.labels) <= {"0 and 0", "0 and 1", "1 and 0", "1 and 1"}


def test_a_volume_shows_its_middle_slice_in_colour(tmp_path: Path, quiet: Progress) -> None:
    found = orbits(volumes(tmp_path, quiet), samples=2)
    assert found is not None
    assert found.images.shape == (2, 2, 4, 4, 3)
    np.testing.assert_allclose(found.images[:, 1], found.images[:, 0, :, ::-1], atol=1e-6)
    assert found.labels == ("class 1", "class 3")
    assert found.elements == ("e", "a")


def test_fewer_samples_than_asked_for_are_shown_once_each(tiny: Dataset) -> None:
    found = orbits(tiny, samples=1000, elements=1)
    assert found is not None
    assert len(found.images) == tiny.size("train")


def test_inputs_without_a_picture_have_no_orbits(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny), "pictures", Dataset.pictures)
    assert orbits(tiny) is None
