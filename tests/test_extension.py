"""One file beside a search space brings a dataset, a group, an action, and a model of its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import spaces

MODULE = '''
"""Photographs of stripes and their negatives: a group of two that moves no pixel."""

import numpy as np
import torch
from torch import nn

from equigrid import Builder, Dataset, FiniteGroup, Parameters
from equigrid import fixed_views, on_device, random_stream, read_views

SIDE = 6


def negative():
    """{the photograph, its negative}: no matrices, it does not act on coordinates."""
    return FiniteGroup("negative", np.array([[0, 1], [1, 0]]), (1,))


class StripeParameters(Parameters):
    samples: int = 60
    seed: int = 0


class Stripes(Builder):
    """Lines across or lines down: which?"""

    version = 1
    test_splits = ("test_augmented", "test")
    Parameters = StripeParameters

    def __init__(self, parameters, group):
        super().__init__(parameters, group)
        if group.order != 2:
            raise ValueError("a photograph has one negative: the group has two elements")

    @property
    def train_size(self):
        return self.parameters.samples

    def build(self, raw, progress):
        arrays = {}
        for done, split in enumerate(("train", "val", "test")):
            progress(done, 3)
            stream = random_stream(self.parameters.seed, split)
            labels = stream.integers(2, size=self.parameters.samples)
            images = stream.integers(120, size=(len(labels), SIDE, SIDE))
            images[:, :: 2] += 120
            images[labels == 1] = images[labels == 1].swapaxes(1, 2)
            arrays[f"{split}/images"] = images.astype(np.uint8)
            arrays[f"{split}/labels"] = labels
        return arrays

    def augment(self, base, progress):
        views = {}
        for split in ("val", "test"):
            views |= fixed_views(self.parameters.seed, split, self.parameters.samples, 2, 1)
        return views

    def resident(self, arrays, device):
        return ResidentStripes(self, arrays, device)


class ResidentStripes(Dataset):
    task = Stripes.task
    input_shape = (1, SIDE, SIDE)
    outputs = 2
    draws = 1
    sources = {"val": "val", "test": "test", "test_augmented": "test"}

    def __init__(self, builder, arrays, device):
        self.group = builder.group
        self.views = {
            "val": read_views(arrays, "val", device),
            "test_augmented": read_views(arrays, "test", device),
        }
        splits = ("train", "val", "test")
        self.images = {it: on_device(arrays[f"{it}/images"], device) for it in splits}
        self.labels = {it: on_device(arrays[f"{it}/labels"], device) for it in splits}

    def size(self, source):
        return len(self.labels[source])

    def targets(self, source, rows):
        return self.labels[source][rows]

    def plain(self, source, rows):
        return self.images[source][rows][:, None].float() / 255 - 0.5

    def view(self, source, rows, elements, draws):
        signs = 1 - 2 * elements.float()
        return self.plain(source, rows) * signs[:, None, None, None]


class TwoLayer(nn.Module):
    def __init__(self, input_shape, outputs, *, hidden: int = 32, latent: int = 4):
        super().__init__()
        pixels = int(np.prod(input_shape))
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden), nn.ELU(), nn.Linear(hidden, latent)
        )
        self.classifier = nn.Sequential(nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x):
        return self.encoder(x)

    def head(self, z):
        return self.classifier(z)

    def forward(self, x):
        return self.head(self.encode(x))
'''

SPACE = """
title: Stripes
datasets:
  Stripes: {builder: "negatives:Stripes", group: "negatives:negative", samples: 80}
columns:
  negatives: {dataset: Stripes, split: test_augmented, metric: accuracy}
  originals: {dataset: Stripes, split: test, metric: accuracy}
rows:
  Chance: {model: majority}
  Plain:
    model: {"negatives:TwoLayer": {latent: 6}}
    objective: augmented
    grid: {lr: [3e-3]}
  Ours:
    model: "negatives:TwoLayer"
    objective: regular_representation
    grid: {lr: [3e-3], lambda: [0.5]}
training: {epochs: 40, batch_size: 20, patience: 40}
seeds: {final: [0, 1]}
"""


@pytest.mark.cluster
def test_one_new_file_goes_through_all_five_stages(tmp_path: Path) -> None:
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    mine.mkdir()
    elsewhere.mkdir()
    (mine / "negatives.py").write_text(MODULE)
    (mine / "stripes.yaml").write_text(SPACE)
    done = spaces.forked("run", mine / "stripes.yaml", "--in-process", folder=elsewhere)
    for stage in ("data build", "augment cache", "grid", "final runs", "tables"):
        assert f"✓ {stage}" in done.stdout

    workspace = elsewhere / "workspace"
    with (workspace / "tables" / "stripes" / "table.csv").open() as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    assert list(cells) == [
        (row, column)
        for row in ("Chance", "Plain", "Ours")
        for column in ("negatives", "originals")
    ]
    for (row, column), cell in cells.items():
        assert cell["gap"] == ""
        assert cell["n"] == cell["wanted"]
        if row != "Chance":
            assert float(cell["mean"]) > float(cells["Chance", column]["mean"]) + 0.2

    # One training fed both columns: a record a trial, with both splits in it.
    records = [json.loads(path.read_text()) for path in (workspace / "records").iterdir()]
    assert len(records) == 1 + 2 + 2
    for record in records:
        assert set(record["test"]) == {"test_augmented", "test"}
    names = {(it["trial"]["model"]["name"], it["trial"]["model"].get("latent")) for it in records}
    assert names == {("majority", None), ("negatives:TwoLayer", 6), ("negatives:TwoLayer", 4)}
    assert {it["trial"]["data"]["group"] for it in records} == {"negatives:negative"}
    # Nothing was written beside the search space, and the file stays where it is.
    assert {path.name for path in mine.iterdir()} - {"__pycache__"} == {
        "negatives.py", "stripes.yaml"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("negatives:Stripes", "negatives:Nothing"), "negatives has no 'Nothing'"),
        (("negatives:Stripes", "nowhere:Stripes"), "no module 'nowhere' beside the search space"),
        (("negatives:negative", "C4"), "a photograph has one negative"),
        (("negatives:negative", "negatives:SIDE"), "is not a FiniteGroup"),
        (("samples: 80", "sample: 80"), "unknown key 'sample'; allowed: builder, group, samples"),
        (("latent: 6", "latents: 6"), "unknown parameter 'latents' of negatives:TwoLayer"),
        (("latent: 6", "latent: many"), "'many': Input should be a valid integer"),
    ],
)
def test_mistakes_about_one_s_own_parts_are_told(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "negatives.py").write_text(MODULE)
    (tmp_path / "stripes.yaml").write_text(SPACE.replace(*change))
    done = spaces.in_this_process("plan", "stripes.yaml", folder=tmp_path, expect=2)
    assert said in done.stderr
    assert done.stderr.startswith("equigrid: stripes.yaml:")
    assert len(done.stderr.splitlines()) == 1
