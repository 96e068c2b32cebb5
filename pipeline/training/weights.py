"""The best weights of a training, as a safetensors file: other programs open it too.

`safetensors.torch.load_file(path)` gives the tensors by name. The SHA-256 of the whole file is the
record's `weights_sha256`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from equigrid.files import sha256, write_atomically


def save_weights(path: Path, weights: Mapping[str, torch.Tensor]) -> str:
    """Write a model's state, tensors on the CPU by name; returns the SHA-256 of the file."""
    data = safetensors.torch.save({name: value.contiguous() for name, value in weights.items()})
    write_atomically(path, data)
    return sha256(data)


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors on the CPU by name, and the SHA-256 of the file.

    Raises OSError where there is no such file, ValueError where it is no safetensors file.
    """
    data = path.read_bytes()
    try:
        return safetensors.torch.load(data), sha256(data)
    except SafetensorError as error:
        raise ValueError(f"{path}: no file of weights: {error}") from error
