"""A network that learns how equivariant it is: what it remembers, its file and its picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import safetensors.torch
import spaces
import torch

from equigrid.models.likelihoods import FILE, KEPT
from equigrid.models.steerable_cnn import PartiallySteerableCNN
from equigrid.symmetry import group_by_name


def test_likelihoods_are_kept_tracked_and_drawn_by_layer_and_epoch(tmp_path: Path) -> None:
    content = spaces.space(
        rows={
            "PSCNN": {
                "model": {"partially_steerable_cnn": {"width": 1, "latent": 4}},
                "objective": "augmented",
                "grid": {"lr": [0.01]},
            }
        },
        seeds={"grid": [0], "final": [0]},
    )
    spaces.write(tmp_path / "likely.yaml", content)
    spaces.in_this_process("run", "likely.yaml", "--in-process", folder=tmp_path, drawn=True)
    (file,) = (tmp_path / "workspace" / "files").glob(f"*/{FILE}")
    found = safetensors.torch.load_file(file)
    assert found["epochs"][0] == 1
    epochs, layers, elements = found["likelihoods"].shape
    assert (epochs, layers, elements) == (len(found["epochs"]), 6, 2)  # D1: the identity, a flip
    torch.testing.assert_close(found["likelihoods"].mean(2), torch.ones(epochs, layers))
    assert found["mirrored"].tolist() == [0, 1]
    page = (tmp_path / "workspace" / "reports" / "likely" / "index.html").read_text()
    assert "How equivariant the layers became" in page
    assert "PSCNN: likelihood by layer" in page
    tracked = spaces.in_this_process("verify", "likely.yaml", folder=tmp_path)
    assert "all match" in tracked.stdout


def test_of_many_epochs_every_second_is_remembered_and_then_every_fourth() -> None:
    model = PartiallySteerableCNN((1, 16, 16), 3, group=group_by_name("D1"), width=1, latent=2)
    for epoch in range(1, 4 * KEPT + 1):
        model.watch(epoch)
    seen = model.epochs[model.epochs >= 0].tolist()
    assert KEPT // 2 <= len(seen) <= KEPT
    assert {after - before for before, after in itertools.pairwise(seen)} == {4}
    again = PartiallySteerableCNN((1, 16, 16), 3, group=group_by_name("D1"), width=1, latent=2)
    again.load_state_dict(model.state_dict())
    assert again.artifacts() == model.artifacts()


@pytest.mark.parametrize("name", ["SO(3)", "O(3)"])
def test_of_rotations_of_space_turns_about_an_axis_are_shown(name: str) -> None:
    from equigrid.models.steerable_resnet3d import PartiallySteerableResNet3D

    model = PartiallySteerableResNet3D((1, 14, 14, 14), 2, group=name, width=1)
    found = safetensors.torch.load(model.artifacts()[FILE])
    assert found["likelihoods"].shape == (1, 3, 13 if name == "SO(3)" else 26)
    torch.testing.assert_close(found["likelihoods"], torch.ones_like(found["likelihoods"]))
