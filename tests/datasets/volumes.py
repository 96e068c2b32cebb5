"""Made-up files of MedMNIST3D: a set's own counts, shapes and classes, sorted by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equigrid.datasets.medmnist3d.builder import medmnist_info


def made_up(flag: str, **changes: Any) -> dict[str, NDArray[Any]]:
    """The arrays of a flag's npz: a bright box of a side by class, on noise."""
    info = medmnist_info()[flag]
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, count in info["n_samples"].items():
        labels = np.sort(np.arange(count) % len(info["label"])).astype(np.uint8)
        volumes = random.integers(60, size=(count, 28, 28, 28), dtype=np.uint8)
        for volume, label in zip(volumes, labels, strict=True):
            volume[4 : 8 + label, 4 : 8 + label, 6:18] += 150
        arrays |= {f"{split}_images": volumes, f"{split}_labels": labels[:, None]}
    return arrays | changes


def put(folder: Path, flag: str, arrays: dict[str, Any]) -> Path:
    """Where a raw folder has it."""
    path = folder / "medmnist3d" / f"{flag}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path
