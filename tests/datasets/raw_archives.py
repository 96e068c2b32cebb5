"""Small stand-ins for the raw files of CIFAR-10 and TMNIST."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from equigrid.datasets.cifar10 import builder
from equigrid.datasets.cifar10.builder import BINARY
from equigrid.datasets.typefaces.builder import NAMES, TABLE

Array = np.ndarray[Any, np.dtype[Any]]


@contextmanager
def few_images() -> Iterator[None]:
    """Let the splits of CIFAR-10 have 40 and 20 images."""
    with mock.patch.object(builder, "SIZES", {"train": 40, "test": 20}):
        yield


def pictures() -> Array:
    """[60, 3, 32, 32] of even blocks, of which JPEG loses little."""
    coarse = np.random.default_rng(0).integers(60, 200, size=(60, 3, 4, 4)).astype(np.uint8)
    return coarse.repeat(8, 2).repeat(8, 3)


def archive(path: Path, mode: str, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def put_binary(folder: Path, batches: int = 5) -> tuple[Array, Array]:
    """The official archive with 8 images a batch and 20 to test; images and labels in order."""
    images, labels = pictures(), np.arange(60) % 10
    records = [bytes([n]) + image.tobytes() for n, image in zip(labels, images, strict=True)]
    members = {
        f"cifar-10-batches-bin/data_batch_{n + 1}.bin": b"".join(records[8 * n : 8 * n + 8])
        for n in range(batches)
    }
    members["cifar-10-batches-bin/test_batch.bin"] = b"".join(records[40:])
    members["cifar-10-batches-bin/readme.html"] = b"no images"
    archive(folder / BINARY.name, "w:gz", members)
    return images, labels


def put_table(folder: Path, lines: int = 20) -> Array:
    """TMNIST's table of made-up digits [2, 10, 28, 28], and of another typeface."""
    images = np.random.default_rng(1).integers(0, 256, size=(2, 10, 28, 28)).astype(np.uint8)
    header = "names,labels," + ",".join(map(str, range(1, 785)))
    rows = [
        f"{name},{n}," + ",".join(map(str, image.ravel()))
        for name, of_face in zip(NAMES, images, strict=True)
        for n, image in enumerate(of_face)
    ]
    path = folder / TABLE.name
    path.parent.mkdir(parents=True, exist_ok=True)
    other = "Other-Font,3," + ",".join(["0"] * 784)
    path.write_text("\n".join([header, other, *rows[:lines]]))
    return images
