"""Files of weights: safetensors, which other programs open with one call."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch

from equigrid.training.weights import load_weights, save_weights

#: In the layout that networks train in on a CPU, and a counter as batch normalisation has one.
WEIGHTS = {
    "convolution": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
    "steps": torch.tensor(7),
}


def test_weights_come_back_to_the_bit_here_and_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    digest = save_weights(path, WEIGHTS)
    found, same = load_weights(path)
    assert digest == same == hashlib.sha256(path.read_bytes()).hexdigest()
    for read in (found, safetensors.torch.load_file(path)):
        assert read.keys() == WEIGHTS.keys()
        assert all(torch.equal(read[name], value) for name, value in WEIGHTS.items())
    assert os.listdir(tmp_path) == [path.name]


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    """Their hash can be compared between trainings, whatever the order and the layout."""
    other = {name: WEIGHTS[name].contiguous() for name in reversed(WEIGHTS)}
    assert save_weights(tmp_path / "a", WEIGHTS) == save_weights(tmp_path / "b", other)


@pytest.mark.parametrize("size", [0, 7, 60])
def test_a_torn_file_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, WEIGHTS)
    os.truncate(path, size)
    with pytest.raises(ValueError, match=r"a\.safetensors: no file of weights"):
        load_weights(path)
