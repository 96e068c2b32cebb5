"""The augmentation cache of double digits: its build, its size, and what a batch costs from it.

Floors, side by side on one thread, for a batch of 256 pairs at random elements:

- fresh artefacts drawn on the fly with the cache's own arithmetic (datasets/rotation.py, two
  bilinear rotations a digit);
- the loop one would write first: scipy.ndimage.rotate(order=1) twice a digit, digit by digit.

Reading back: opening with all hashes checked against reading the file's bytes and against hashing
them. Building is given per 1000 pairs: table 4 has 17 000 for each group.

The pictures are random, of MNIST's size: nothing depends on what they show. `--pairs` is the number
of training pairs for each of the 100 labels.

    python benchmarks/cache.py [--pairs 7] [--rounds 9] [--json FILE]
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import Report, begin, quiet, side_by_side, synthetic_double_digits, timed, wall
from scipy import ndimage

from equigrid.datasets.ddmnist.builder import DDMNIST
from equigrid.datasets.rotation import rotations, transform_images
from equigrid.datasets.store import Arrays, read_arrays, write_arrays

BATCH, DRAWS, EPOCHS = 256, 4, 150


def build(report: Report, builder: DDMNIST, base: Arrays, path: Path, n: int) -> Arrays:
    """Time making and writing the cache; returns its arrays as a worker maps them."""
    name = builder.factor.name
    thousands = sum(len(base[f"{split}/labels"]) for split in ("train", "val", "test")) / 1000
    identity = {"kind": "cache"}
    making, writing = [], []
    for _ in range(n):
        begun = time.perf_counter()
        arrays = builder.augment(base, quiet)
        making.append(time.perf_counter() - begun)
        writing.append(timed(lambda made=arrays: write_arrays(path, made, identity)))
    median = float(np.median(making)) / thousands
    report.show(f"{name}: draw the orbits, per 1000 pairs", median, "s", n)
    report.show(
        f"{name}: write, read back, fsync, per 1000 pairs", wall(writing) / thousands, "s", n
    )
    report.show(f"{name}: size per 1000 pairs", path.stat().st_size / 1e6 / thousands, "MB", 1)
    return read_arrays(path, identity)[0]


def read_back(report: Report, name: str, path: Path, n: int) -> None:
    """All with the file in the page cache."""

    def plainly() -> None:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass

    def hashed() -> None:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    trusted = read_arrays(path)[1]
    seconds = side_by_side(
        n,
        plain=plainly,
        hashed=hashed,
        verified=lambda: read_arrays(path),
        mapped=lambda: read_arrays(path, expected_hash=trusted),
    )
    size = path.stat().st_size / 1e6
    for what, key in (
        ("read the file, unchecked", "plain"),
        ("read the file and hash it", "hashed"),
        ("open the cache, checked", "verified"),
    ):
        report.show(f"{name}: {what}", size / wall(seconds[key]), "MB/s", n)
    report.show(f"{name}: open, checked before", 1000 * wall(seconds["mapped"]), "ms", n)


def fresh_draws(builder: DDMNIST, base: Arrays) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Random s for every digit, as the cache's build draws them."""
    digits = torch.from_numpy(base["train/digits"])
    matrices = builder.factor.matrices
    assert matrices is not None
    targets = torch.from_numpy(matrices).float()
    mirror = torch.diag(torch.tensor([-1.0, 1.0]))

    def batch(rows: torch.Tensor, elements: torch.Tensor) -> None:
        pixels = digits[rows].flatten(0, 1).float()
        target = targets[elements.flatten()]
        mirrored = (torch.linalg.det(target) < 0)[:, None, None]
        pixels = torch.where(mirrored, pixels.flip(-1), pixels)
        turn = rotations((2 * torch.rand(len(pixels)) - 1) * torch.pi)
        rotation = torch.where(mirrored, target @ mirror, target)
        transform_images(transform_images(pixels, turn), rotation @ turn.transpose(1, 2))

    return batch


def scipy_loop(builder: DDMNIST, base: Arrays) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """Element f·n + k flips f times, then rotates by k/n of a full turn."""
    digits = base["train/digits"].astype(np.float32)
    mirrors = builder.factor.order > 4
    turns = builder.factor.order // 2 if mirrors else builder.factor.order
    stream = np.random.default_rng(0)

    def batch(rows: torch.Tensor, elements: torch.Tensor) -> None:
        chosen = digits[rows.numpy()].reshape(-1, *digits.shape[2:])
        for picture, element in zip(chosen, elements.flatten().tolist(), strict=True):
            flip, k = divmod(element, turns)
            angle = stream.uniform(-180, 180)
            start = picture[:, ::-1] if flip else picture
            once = ndimage.rotate(start, angle, reshape=False, order=1)
            ndimage.rotate(once, 360 * k / turns - angle, reshape=False, order=1)

    return batch


def batches(report: Report, builder: DDMNIST, base: Arrays, cached: Arrays, n: int) -> None:
    dataset = builder.resident({**base, **cached}, "cpu")
    order = builder.factor.order
    fresh, loop = fresh_draws(builder, base), scipy_loop(builder, base)
    rows = torch.randint(dataset.size("train"), (BATCH,))
    pair = torch.randint(order, (BATCH, 2))
    elements, draws = pair[:, 0] * order + pair[:, 1], torch.randint(dataset.draws, (BATCH,))
    seconds = side_by_side(
        n,
        cache=lambda: dataset.view("train", rows, elements, draws),
        fresh=lambda: fresh(rows, pair),
        scipy=lambda: loop(rows, pair),
    )
    name = builder.factor.name
    cache = wall(seconds["cache"])
    report.show(f"{name}: a batch of {BATCH} from the cache, canvas made", 1000 * cache, "ms", n)
    for what, key in (("fresh artefacts, no canvas", "fresh"), ("SciPy loop, no canvas", "scipy")):
        value = wall(seconds[key])
        report.show(f"{name}: a batch of {BATCH}, {what}", 1000 * value, "ms", n)
        report.show(f"{name}: times the cache", value / cache, "x", n)


def diversity(report: Report, builder: DDMNIST) -> None:
    """Views of a pair that an epoch may show, and how many different ones a training meets."""
    name, views = builder.factor.name, builder.group.order * builder.draws
    report.show(f"{name}: views of a digit in the cache", builder.factor.order * DRAWS, "", 1)
    report.show(f"{name}: views of a pair in the cache", views, "", 1)
    # Without a cache every one of a training's views of a pair has artefacts of its own.
    for shown in (EPOCHS, 2 * EPOCHS):
        met = views * (1 - (1 - 1 / views) ** shown)
        report.show(f"{name}: of {shown} views shown of a pair, different ones", met, "", 1)


def main() -> None:
    report, options = begin(__doc__, pairs=7, rounds=9)
    for group in ("C4xC4", "D4xD4"):
        builder, base = synthetic_double_digits(group, DRAWS, train=options.pairs, held_out=1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cache.h5"
            cached = build(report, builder, base, path, 3)
            read_back(report, builder.factor.name, path, options.rounds)
            batches(report, builder, base, cached, options.rounds)
        diversity(report, builder)
    report.close()


if __name__ == "__main__":
    main()
