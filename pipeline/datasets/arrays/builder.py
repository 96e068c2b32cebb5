"""Labelled images or volumes from one .npz or HDF5 file: no Python of one's own."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from equigrid.datasets.images.builder import ImageClassification
from equigrid.datasets.raw import RawFile, RawStore, read_npz
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters, Positive, Size
from equigrid.symmetry import FiniteGroup

SPLITS = ("train", "val", "test")
HDF5 = (".h5", ".hdf5", ".hdf")


def read_arrays_file(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz or, by its name, an HDF5 file; InputError where it is none."""
    if not name.endswith(HDF5):
        return read_npz(data, name)
    found: dict[str, NDArray[Any]] = {}

    def keep(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[path] = np.asarray(item[()])

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            file.visititems(keep)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{name}: not an HDF5 file: {error}") from error
    return found


class SplitSizes(Parameters):
    train: Size
    val: Size
    test: Size


class LabelledArraysParameters(Parameters):
    """file: an .npz or HDF5 file, beside the search space (or its path).

    inputs, labels: names of the arrays [n, channels, *grid] (or [n, *grid] of one channel) and [n]
    (or [n, 1]), whole numbers from 0 to classes - 1.
    shape: (channels, *grid) of an input. samples: of each split.
    splits: `drawn` from all of them by `seed`, as many of a label as its share; or `stored`, as
    `train_…`, `val_…` and `test_…` of both names. mean, std: what inputs are normalised by; of
    uint8 they are fractions of 255 before, and the default is 0.5.
    """

    file: Annotated[str, Field(pattern=r"\.(npz|h5|hdf5|hdf)$")]
    inputs: str = "inputs"
    labels: str = "labels"
    shape: Annotated[list[Size], Field(min_length=3, max_length=4)]
    classes: Annotated[int, Field(ge=2, le=2**20)]
    samples: SplitSizes
    splits: Literal["drawn", "stored"] = "drawn"
    seed: Annotated[int, Field(ge=0)] = 0
    mean: float | None = None
    std: Positive | None = None


class LabelledArrays(ImageClassification):
    """Images or volumes of one's own from an .npz or HDF5 file, uint8 or float, with labels.

    Moved by any group that maps their grid to itself.
    """

    Parameters = LabelledArraysParameters
    metrics = ("accuracy", "auc")
    dataset_class = "equigrid.datasets.arrays.resident:ResidentArrays"

    def __init__(self, parameters: LabelledArraysParameters, group: FiniteGroup) -> None:
        self.outputs = parameters.classes
        self._shape = tuple(parameters.shape)
        super().__init__(parameters, group)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def train_size(self) -> int:
        return int(self.parameters.samples.train)

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        origin = "the search space's own file"
        return (RawFile(self.parameters.file, "", "", packed=True, origin=origin, beside=True),)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        found = read_arrays_file(raw.content(self.raw_files[0]), self.parameters.file)
        names = self.parameters.inputs, self.parameters.labels
        if self.parameters.splits == "stored":
            parts = {
                split: self._checked(*(self._named(found, f"{split}_{name}") for name in names))
                for split in SPLITS
            }
        else:
            inputs, labels = self._checked(*(self._named(found, name) for name in names))
            parts = {it: (inputs[rows], labels[rows]) for it, rows in self._drawn(labels).items()}
        arrays: dict[str, NDArray[Any]] = {}
        for split, (inputs, labels) in parts.items():
            wanted = getattr(self.parameters.samples, split)
            if len(labels) != wanted:
                raise self._fault(f"{split} has {len(labels)} samples, not {wanted} as `samples`")
            arrays |= {f"{split}/images": inputs, f"{split}/labels": labels}
        if absent := set(range(self.outputs)) - set(arrays["train/labels"].tolist()):
            raise self._fault(f"no training sample has label {min(absent)}")
        return arrays

    def _fault(self, text: str) -> InputError:
        return InputError(f"{self.parameters.file}: {text}")

    def _named(self, found: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
        if name not in found:
            raise self._fault(f"no array {name!r}; it has: {', '.join(sorted(found)) or 'none'}")
        return found[name]

    def _checked(
        self, inputs: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """uint8 or float32 inputs [n, *input_shape] and int64 labels [n]."""
        if inputs.shape[1:] == self._shape[1:] and self._shape[0] == 1:
            inputs = inputs[:, None]
        if inputs.shape[1:] != self._shape:
            raise self._fault(
                f"inputs are {list(inputs.shape)}; expected [n, {', '.join(map(str, self._shape))}]"
            )
        if inputs.dtype != np.uint8 and inputs.dtype.kind != "f":
            raise self._fault(f"inputs are {inputs.dtype}; allowed: uint8, floats")
        if inputs.dtype.kind == "f":
            inputs = inputs.astype(np.float32)
            if not np.isfinite(inputs).all():
                raise self._fault("inputs hold NaN or infinity")
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        whole = labels.dtype.kind in "iu" and labels.shape == (len(inputs),)
        if not whole or (len(labels) and not 0 <= labels.min() <= labels.max() < self.outputs):
            have = f"{labels.dtype} {list(labels.shape)}"
            if whole:
                have = f"{labels.min()} to {labels.max()}"
            raise self._fault(
                f"labels are {have}; expected [{len(inputs)}] whole numbers from 0 to "
                f"{self.outputs - 1}"
            )
        return inputs, labels.astype(np.int64)

    def _drawn(self, labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Sample numbers by split, each label with its share in each."""
        from sklearn.model_selection import train_test_split

        sizes, seed = self.parameters.samples, self.parameters.seed
        wanted = sizes.train + sizes.val + sizes.test
        if wanted > len(labels):
            raise self._fault(f"it has {len(labels)} samples, and `samples` wants {wanted}")
        rows = np.arange(len(labels))
        try:
            if wanted < len(rows):
                rows, _ = train_test_split(
                    rows, train_size=wanted, stratify=labels, random_state=seed
                )
            train, rest = train_test_split(
                rows, train_size=sizes.train, stratify=labels[rows], random_state=seed
            )
            val, test = train_test_split(
                rest, train_size=sizes.val, stratify=labels[rest], random_state=seed
            )
        except ValueError as error:
            raise self._fault(f"cannot be drawn by label: {error}") from error
        return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}

    def check(self, arrays: Arrays) -> None:
        """They were checked when they were read."""
