"""CIFAR-10: colour images of 32×32 pixels in ten classes, under an exact group of the plane."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from equigrid.datasets.builder import Pairs, random_stream
from equigrid.datasets.images import ImageClassification
from equigrid.datasets.raw import RawFile, RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters, Size
from equigrid.symmetry import FiniteGroup

SIDE = 32
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
#: Images of the two official splits.
SIZES = {"train": 50_000, "test": 10_000}

BINARY = RawFile(
    "cifar10/cifar-10-binary.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    packed=True,
)
JPEG = RawFile(
    "cifar10_jpeg/cifar10_jpeg.tar.xz",
    "",
    "f513d8616d8ae0d9a6b8534b3f73d29d6949f9edcbcc8ff297bf7ca33727470e",
    origin="CIFAR-10 as JPEG images, {train,test}/CLASS/NUMBER.jpg in one archive",
)
#: A label and the pixels of an image, channel by channel.
RECORD = 1 + 3 * SIDE**2

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class CIFAR10Parameters(Parameters):
    """source: `binary`, the official files; `jpeg`, lossy, and its order of images is another.

    train: images of the official training split that an epoch has; val: how many validate.
    seed: fixes which images those are, and the pairs of evaluation splits.
    """

    source: Literal["binary", "jpeg"] = "binary"
    train: Size = 45_000
    val: Size = 5_000
    seed: Annotated[int, Field(ge=0)] = 0


class CIFAR10(ImageClassification):
    """The data of table 3: x2 is x1 turned, never x1 itself. Pixels are scaled to −1 … 1."""

    version = 1
    Parameters = CIFAR10Parameters
    parameters: CIFAR10Parameters
    outputs = len(CLASSES)
    input_shape: ClassVar[tuple[int, ...]] = (3, SIDE, SIDE)

    def __init__(self, parameters: CIFAR10Parameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        if group.order > 1:
            self.pairs = Pairs((0.0, *(1.0 for _ in range(1, group.order))))
        if parameters.train + parameters.val > SIZES["train"]:
            total = parameters.train + parameters.val
            raise ValueError(f"train and val are {total} of {SIZES['train']} images")

    @property
    def train_size(self) -> int:
        return self.parameters.train

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        return (BINARY if self.parameters.source == "binary" else JPEG,)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        (file,) = self.raw_files
        read = _binary if self.parameters.source == "binary" else _jpeg
        found = read(raw.content(file), file.name, progress)
        sizes = self.parameters
        images, labels = found["train"]
        order = random_stream(sizes.seed, "split").permutation(len(labels))
        train, val = order[: sizes.train], order[len(order) - sizes.val :]
        return {
            "train/images": images[train],
            "train/labels": labels[train],
            "val/images": images[val],
            "val/labels": labels[val],
            "test/images": found["test"][0],
            "test/labels": found["test"][1],
        }


def _members(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in an archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{name}: cannot be read as an archive: {error}") from error


def _binary(data: bytes, name: str, progress: Progress) -> dict[str, tuple[Images, Labels]]:
    parts: dict[str, list[Images]] = {"train": [], "test": []}
    for member, content in sorted(_members(data, name)):
        found = re.search(r"(data|test)_batch(_[0-9])?\.bin$", member)
        if found is None:
            continue
        if len(content) % RECORD:
            raise InputError(f"{name}: {member} is no whole number of {RECORD} bytes")
        records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
        parts["train" if found[1] == "data" else "test"].append(records)
    arrays = {split: np.concatenate(it) for split, it in parts.items() if it}
    progress(1, 1)
    return _checked(
        {
            split: (it[:, 1:].reshape(-1, 3, SIDE, SIDE), it[:, 0].astype(np.int64))
            for split, it in arrays.items()
        },
        name,
    )


def _jpeg(data: bytes, name: str, progress: Progress) -> dict[str, tuple[Images, Labels]]:
    from PIL import Image, UnidentifiedImageError

    images: dict[str, dict[str, Images]] = {"train": {}, "test": {}}
    total, done = sum(SIZES.values()), 0
    for member, content in _members(data, name):
        found = re.search(rf"(train|test)/({'|'.join(CLASSES)})/[^/]*\.jpg$", member)
        if found is None:
            continue
        try:
            picture = Image.open(io.BytesIO(content)).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{name}: {member} is no JPEG image: {error}") from error
        if picture.size != (SIDE, SIDE):
            raise InputError(f"{name}: {member} is of {picture.size} pixels")
        images[found[1]][found[0]] = np.asarray(picture).transpose(2, 0, 1)
        done += 1
        if done % 1000 == 0:
            progress(min(done, total), total)
    arrays: dict[str, Any] = {}
    for split, by_name in images.items():
        names = sorted(by_name)  # the archive's own order may be any
        if names:
            labels = [CLASSES.index(each.split("/")[1]) for each in names]
            arrays[split] = np.stack([by_name[each] for each in names]), np.array(labels)
    return _checked(arrays, name)


def _checked(
    found: dict[str, tuple[Images, Labels]], name: str
) -> dict[str, tuple[Images, Labels]]:
    for split, size in SIZES.items():
        there = len(found[split][1]) if split in found else 0
        if there != size:
            raise InputError(f"{name}: {there} images of the {split} split, expected {size}")
        if found[split][1].max() >= len(CLASSES):
            raise InputError(f"{name}: a label beyond {len(CLASSES) - 1}")
    return found
