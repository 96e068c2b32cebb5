"""Sources of single handwritten digits: MNIST and scikit-learn's."""

from __future__ import annotations

import gzip
import importlib.util
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equigrid.datasets.builder import Builder
from equigrid.datasets.raw import RawFile, RawStore
from equigrid.errors import InputError
from equigrid.files import sha256

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Square uint8 images [n, side, side] and labels [n] of a train and a test split."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels


@dataclass(frozen=True)
class DigitSource:
    """files: in the raw folder. packaged: SHA-256 of what comes with an installed package."""

    side: int
    load: Callable[[RawStore], Digits]
    files: tuple[RawFile, ...] = ()
    packaged: Callable[[], dict[str, str]] = dict


def _mnist_file(name: str, digest: str) -> RawFile:
    return RawFile(
        f"mnist/{name}-ubyte.gz",
        f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}-ubyte.gz",
        digest,
    )


MNIST_FILES = (
    _mnist_file(
        "train-images-idx3", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    _mnist_file(
        "train-labels-idx1", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    _mnist_file(
        "t10k-images-idx3", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    _mnist_file(
        "t10k-labels-idx1", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
)


def _idx(data: bytes, name: str) -> NDArray[Any]:
    """Parse the IDX format: two zero bytes, type 8 (uint8), rank, big-endian sizes, data."""
    rank = data[3] if len(data) > 3 else 0
    header = 4 + 4 * rank
    if data[:3] != b"\0\0\x08" or len(data) < header:
        raise InputError(f"{name}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", data[4:header])
    if len(data) - header != np.prod(shape):
        raise InputError(f"{name}: {len(data) - header} bytes of data, the header says {shape}")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _load_mnist(raw: RawStore) -> Digits:
    arrays = [_idx(raw.content(file), file.name) for file in MNIST_FILES]
    for place in (0, 2):
        images, labels = arrays[place : place + 2]
        if images.ndim != 3 or images.shape[1:] != (28, 28):
            name = MNIST_FILES[place].name
            raise InputError(f"{name}: shape {images.shape}, expected images of 28 x 28")
        if labels.shape != images.shape[:1]:
            name = MNIST_FILES[place + 1].name
            raise InputError(f"{name}: shape {labels.shape}, expected {len(images)} labels")
    return Digits(arrays[0], arrays[1].astype(np.int64), arrays[2], arrays[3].astype(np.int64))


def _load_sklearn_digits(raw: RawStore) -> Digits:
    """scikit-learn's 1 797 digits of 8×8 pixels; the last 597, by other writers, are the test."""
    # Its own loader would import the whole of scikit-learn: a second for a table of numbers.
    table = np.loadtxt(_sklearn_digits_file(), delimiter=",")
    images = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    return Digits(images[:1200], labels[:1200], images[1200:], labels[1200:])


def _sklearn_digits_file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise InputError("source digits: scikit-learn is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _sklearn_digits_fingerprint() -> dict[str, str]:
    return {"sklearn/digits.csv": sha256(gzip.decompress(_sklearn_digits_file().read_bytes()))}


SOURCES = {
    "mnist": DigitSource(28, _load_mnist, files=MNIST_FILES),
    "digits": DigitSource(8, _load_sklearn_digits, packaged=_sklearn_digits_fingerprint),
}


class DigitBuilder(Builder):
    """One whose raw data are those of a source of digits."""

    source: DigitSource

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        return self.source.files

    def raw_fingerprints(self, raw: RawStore) -> dict[str, str]:
        return super().raw_fingerprints(raw) | self.source.packaged()
