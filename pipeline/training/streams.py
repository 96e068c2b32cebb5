"""Random streams by name: concurrency, order and restarts change nothing."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named stream of a trial."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator: the same draws whatever device trains."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))
