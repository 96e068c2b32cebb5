"""The 3D sets of MedMNIST v3: labelled volumes of 28³ voxels, under the rotations of the cube."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from equigrid.datasets.builder import random_stream
from equigrid.datasets.images.builder import ImageClassification
from equigrid.datasets.raw import RawFile, RawStore, read_npz
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters
from equigrid.symmetry import FiniteGroup

SIDE = 28


@lru_cache
def medmnist_info() -> Mapping[str, Mapping[str, Any]]:
    """The installed medmnist's own INFO: URLs, MD5s, classes and splits, by flag.

    Read from its source: importing the package imports torch and makes a folder in the home.
    """
    spec = importlib.util.find_spec("medmnist")
    if spec is None or spec.origin is None:
        raise InputError("builder medmnist3d: the package medmnist is not installed")
    source = ast.parse(Path(spec.origin).with_name("info.py").read_text("utf-8"))
    for statement in source.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "INFO":
            info: dict[str, dict[str, Any]] = ast.literal_eval(statement.value)
            return {flag: entry for flag, entry in info.items() if flag.endswith("3d")}
    raise InputError(f"{spec.origin}: this version of medmnist has no INFO that can be read")


class MedMNIST3DParameters(Parameters):
    """flag: of the set, as medmnist names it. pool: side of the cubes of voxels that are averaged.

    action: `released`, as the authors' code has it, is x'(p) = x(Rp), which turns the order of two
    rotations round; `paper` is a left action.
    seed: fixes the order of samples and the views of evaluation splits.
    """

    flag: str
    pool: Literal[1, 2] = 1
    action: Literal["paper", "released"] = "paper"
    seed: Annotated[int, Field(ge=0)] = 0


class MedMNIST3D(ImageClassification):
    """The data of table 5. Official splits; within a split shuffled, for files may be sorted."""

    version = 1
    dataset_class = "equigrid.datasets.medmnist3d.resident:ResidentVolumes"
    metrics = ("accuracy", "auc")
    validation_metrics = ("accuracy", "auc")
    Parameters = MedMNIST3DParameters
    parameters: MedMNIST3DParameters

    def __init__(self, parameters: MedMNIST3DParameters, group: FiniteGroup) -> None:
        known = medmnist_info()
        if parameters.flag not in known:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"flag {parameters.flag!r}; medmnist has: {allowed}")
        self.info = known[parameters.flag]
        self.outputs = len(self.info["label"])
        super().__init__(parameters, group)

    @property
    def train_size(self) -> int:
        return int(self.info["n_samples"]["train"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        side = SIDE // self.parameters.pool
        return (int(self.info["n_channels"]), side, side, side)

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        name = f"medmnist3d/{self.parameters.flag}.npz"
        return (RawFile(name, self.info["url"], f"md5:{self.info['MD5']}"),)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        """Volumes uint8 [n, channels, side, side, side] and labels int64 [n] of each split."""
        (file,) = self.raw_files
        found = self._read(raw.content(file), file.name)
        arrays: dict[str, Any] = {}
        for done, split in enumerate(("train", "val", "test")):
            progress(done, 3)
            volumes, labels = found[f"{split}_images"], found[f"{split}_labels"]
            order = random_stream(self.parameters.seed, "order", split).permutation(len(labels))
            arrays[f"{split}/images"] = _pooled(volumes[order], self.parameters.pool)
            arrays[f"{split}/labels"] = labels[order].reshape(-1).astype(np.int64)
        progress(3, 3)
        return arrays

    def _read(self, content: bytes, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of an npz; InputError where they are not what INFO says of them."""
        arrays = read_npz(content, name)
        # The official files have no axis for a single channel.
        channels = self.info["n_channels"]
        volume = (SIDE,) * 3 if channels == 1 else (channels, *(SIDE,) * 3)
        for split, count in self.info["n_samples"].items():
            for kind, shape in (("images", (count, *volume)), ("labels", (count, 1))):
                key = f"{split}_{kind}"
                array = arrays.get(key)
                if array is None or array.dtype != np.uint8 or array.shape != shape:
                    held = "nothing" if array is None else f"{array.dtype} {array.shape}"
                    raise InputError(f"{name}: {key} holds {held}, expected uint8 {shape}")
            if arrays[f"{split}_labels"].max() >= self.outputs:
                raise InputError(f"{name}: {split}_labels: a label beyond {self.outputs - 1}")
            arrays[f"{split}_images"] = arrays[f"{split}_images"].reshape(
                count, channels, *(SIDE,) * 3
            )
        return arrays

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        arrays = dict(super().augment(base, progress))
        if self.parameters.action == "released":
            arrays["action"] = arrays["action"][self.group.inverse]
        return arrays


def _pooled(volumes: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Means over cubes of side³ voxels, rounded; [n, channels, s, s, s] → [..., s / side, …]."""
    if side == 1:
        return volumes
    n, channels, *grid = volumes.shape
    cubes = [part for size in grid for part in (size // side, side)]
    means = volumes.reshape(n, channels, *cubes).mean((3, 5, 7), dtype=np.float32)
    pooled: NDArray[np.uint8] = np.round(means).astype(np.uint8)
    return pooled
