"""Random streams by name: concurrency, order and restarts change nothing."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named stream of a trial."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator: the same draws whatever device trains."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


@contextmanager
def seeded(device: str, seed: int, *names: str | int) -> Iterator[None]:
    """Let what draws from the global generators (dropout, sampling) draw from a named stream.

    torch's on the CPU and on `device`, NumPy's and Python's; they are as before afterwards.
    """
    devices = [torch.device(device)] if device.startswith("cuda") else []
    kept = random.getstate(), np.random.get_state()
    start = stream_seed(seed, *names)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(start)
        random.seed(start)
        np.random.seed(start % 2**32)
        try:
            yield
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])
