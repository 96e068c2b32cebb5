"""A search space for a file of arrays: what is in it, written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from equigrid.datasets.arrays.builder import SPLITS, read_arrays_file
from equigrid.errors import InputError
from equigrid.symmetry import grid_action, group_by_name

#: Names of inputs and labels that people use, the likeliest first.
INPUTS = ("inputs", "images", "x", "X", "data", "volumes")
LABELS = ("labels", "y", "Y", "targets", "target", "label")
#: Groups of a plane's grid and of a cube's, the larger first; mirrors change many labels.
GROUPS = {2: ("C4", "C2"), 3: ("octahedral",)}


@dataclass(frozen=True)
class OwnArrays:
    """What a search space says of a file."""

    file: str
    group: str
    settings: dict[str, Any]


def describe(path: Path) -> OwnArrays:
    """Look at a file of arrays; InputError names what a search space could not use."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    found = read_arrays_file(data, path.name)
    stored = all(
        any(f"{split}_{name}" in found for name in names)
        for split in SPLITS
        for names in (INPUTS, LABELS)
    )
    prefix = "train_" if stored else ""
    names = [_name(path, found, prefix, words) for words in (INPUTS, LABELS)]
    inputs, labels = (np.asarray(found[f"{prefix}{name}"]) for name in names)
    if inputs.ndim < 3 or len(inputs) < 3:
        raise InputError(
            f"{path}: {names[0]} is {list(inputs.shape)}; expected [n, channels, *grid]"
        )
    shape = inputs.shape[1:]
    # Channels come first; a grid alone has one.
    if len(shape) == 2 or (len(shape) == 3 and shape[0] == shape[1] == shape[2]):
        shape = (1, *shape)
    if len(shape) == 4 and set(shape[1:]) not in ({14}, {28}):
        raise InputError(
            f"{path}: volumes of {list(shape[1:])}; the packaged network takes sides of 14 or 28: "
            "write one of your own (equigrid init NAME), with this file as `builder: arrays`"
        )
    if stored:
        samples = {split: len(found[f"{split}_{names[1]}"]) for split in SPLITS}
    else:
        tests = max(1, len(labels) // 5)
        samples = {"train": len(labels) - 2 * tests, "val": tests, "test": tests}
    if labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(f"{path}: {names[1]} is {labels.dtype}; expected whole numbers from 0 on")
    settings = {
        "file": path.name, "inputs": names[0], "labels": names[1], "shape": [*map(int, shape)],
        "classes": max(2, int(labels.max()) + 1), "samples": samples,
        "splits": "stored" if stored else "drawn",
    }  # fmt: skip
    return OwnArrays(path.name, _group(shape[1:]), settings)


def _name(path: Path, found: dict[str, NDArray[Any]], prefix: str, words: tuple[str, ...]) -> str:
    name = next((word for word in words if f"{prefix}{word}" in found), None)
    if name is None:
        raise InputError(
            f"{path}: no array called {', '.join(words)}; it has: {', '.join(sorted(found))}"
        )
    return name


def _group(grid: tuple[int, ...]) -> str:
    """The largest that maps the grid to itself; C1, which moves nothing, where none does."""
    for name in GROUPS.get(len(grid), ()):
        try:
            grid_action(group_by_name(name), grid)
        except ValueError:
            continue
        return name
    return "C1"


def space_of(name: str, arrays: OwnArrays) -> str:
    """A search space with a baseline and the method on it."""
    model = "resnet3d" if len(arrays.settings["shape"]) == 4 else "small_cnn"
    dataset = {"builder": "arrays", "group": arrays.group, **arrays.settings}
    lines = yaml.safe_dump(dataset, sort_keys=False, default_flow_style=None, width=88)
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    batch = min(64, arrays.settings["samples"]["train"])
    return f"""# One search space, one table. Run it:  equigrid run {name}.yaml
title: {name}
datasets:
  mine: # splits: drawn by seed 0; a group that suits the labels (does a turned input keep its own?)
{body}columns: # a dataset's test split (moved by the group, or as it is) and a metric
  moved: {{dataset: mine, split: test_augmented, metric: accuracy}}
  as it is: {{dataset: mine, split: test, metric: accuracy}}
rows: # methods: a network, an objective (its loss), and the grid that validation selects from
  Majority: {{model: majority}}
  Baseline: {{model: {model}, objective: augmented, grid: {{lr: [1e-3, 3e-3]}}}}
  Ours:
    model: {model}
    objective: regular_representation # the group acts on the latent, too
    grid: {{lr: [1e-3, 3e-3], lambda: [0.5, 2]}}
reference: Baseline # the row that each other is compared with, seed by seed
training: {{epochs: 30, batch_size: {batch}}} # ends 20 epochs after the best val_accuracy
seeds: {{grid: [0], final: [0, 1, 2]}}
"""
