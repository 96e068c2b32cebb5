"""Volumes of nodule's number and size: the cache, a batch, and an epoch against the bare loop.

The voxels are random: nothing that is timed depends on what they show.

- building and caching (stages 1 and 2) at 28³, and opening both files with all hashes checked,
  against reading the same bytes plainly and against hashing them;
- a batch of 32 volumes at random rotations (gathers), against the same batch without a rotation;
- an epoch of a trial at 14³ against the loop one would write by hand (see epoch.py).

    python benchmarks/volumes.py [--rounds 5] [--epochs 5] [--json FILE]
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import Report, begin, open_dataset, quiet, side_by_side, timed, wall
from epoch import compare

from equigrid.config.experiment import load_experiment
from equigrid.datasets.medmnist3d.builder import medmnist_info
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import read_arrays
from equigrid.planning.workspace import Workspace
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build

FLAG, BATCH = "nodulemnist3d", 32


def put_random_volumes(folder: Path) -> None:
    info, stream = medmnist_info()[FLAG], np.random.default_rng(0)
    arrays = {}
    for split, count in info["n_samples"].items():
        arrays[f"{split}_images"] = stream.integers(256, size=(count, 28, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    (folder / "medmnist3d").mkdir()
    np.savez(folder / "medmnist3d" / f"{FLAG}.npz", **arrays)


def files(report: Report, workspace: Workspace, recipe: dict[str, object], n: int) -> None:
    paths = [workspace.data_file(recipe), workspace.cache_file(recipe)]

    def plainly() -> None:
        for path in paths:
            path.read_bytes()

    def hashed() -> None:
        for path in paths:
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")

    def opened() -> None:
        for path in paths:
            read_arrays(path)

    seconds = side_by_side(n, plain=plainly, hashed=hashed, opened=opened)
    size = sum(path.stat().st_size for path in paths) / 1e6
    report.show("both files together", size, "MB", 1)
    for what, key in (
        ("read plainly", "plain"),
        ("read and hashed", "hashed"),
        ("opened, all arrays checked", "opened"),
    ):
        report.show(f"both files: {what}", size / wall(seconds[key]), "MB/s", n)


def main() -> None:
    report, options = begin(__doc__, rounds=5, epochs=5)
    experiments = {profile: load_experiment("medmnist3d", profile) for profile in (None, "small")}
    with tempfile.TemporaryDirectory() as folder:
        raw = RawStore(Path(folder))
        put_random_volumes(raw.folder)
        workspace = Workspace(Path(folder) / "workspace")
        recipes = {it: found.datasets["nodule"].recipe(raw) for it, found in experiments.items()}
        for profile, recipe in recipes.items():
            side = "14³" if profile else "28³"
            built = timed(lambda r=recipe: data_build(workspace, r, raw, quiet))
            size = workspace.data_file(recipe).stat().st_size / 1e6
            report.show(f"data build at {side}", built.wall, "s", 1)
            report.show(f"data build at {side}", size / built.wall, "MB/s", 1)
            base = data_build(workspace, recipe, raw, quiet)
            cached = timed(lambda r=recipe, b=base: augment_cache(workspace, r, b, quiet))
            report.show(f"augment cache at {side}", cached.wall, "s", 1)
        files(report, workspace, recipes[None], options.rounds)

        dataset = open_dataset(workspace, recipes[None])
        rows, elements = torch.arange(BATCH) * 7, torch.arange(BATCH) % 24
        none = torch.zeros_like(rows)
        seconds = side_by_side(
            20 * options.rounds,
            rotated=lambda: dataset.view("train", rows, elements, none),
            upright=lambda: dataset.plain("train", rows),
        )
        for name, each in seconds.items():
            report.show(f"a batch of {BATCH} at 28³, {name}", 1000 * wall(each), "ms", len(each))

        experiment = experiments["small"]
        point = {"lr": 1e-3, "lambda": 1.0}
        trial = experiment.trial("Ours", "nodule", point, 0, "grid", recipes["small"])
        small = open_dataset(workspace, recipes["small"])
        compare(report, "resnet3d, 1158 volumes of 14³", trial, small, options.epochs)
    report.close()


if __name__ == "__main__":
    main()
