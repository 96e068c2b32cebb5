"""A search space that takes long enough to be disturbed: `paced.py` lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import spaces

MODEL = {"paced:Paced": {"width": 4, "latent": 8}}
ROWS = {
    "Chance": {"model": "majority"},
    "CNN": {"model": MODEL, "objective": "augmented", "grid": {"lr": [0.003, 0.01, 0.03]}},
    "Ours": {
        "model": MODEL,
        "objective": "regular_representation",
        "grid": {"lr": [0.003, 0.01], "lambda": [0.5, 2]},
    },
}


def write(path: Path) -> Path:
    """11 trainings, slower where the environment says PACE."""
    shutil.copy(Path(spaces.__file__).with_name("paced.py"), path.parent)
    # Retries: one trial may be on several hosts that are lost.
    return spaces.write(
        path, rows=ROWS, seeds={"grid": [0], "final": [0, 1, 2]}, retries=3,
        training={"epochs": 6, "batch_size": 12, "patience": 6},
    )  # fmt: skip
