"""Which degrees multiply to which, and by what numbers (H-(V)AE's efficient tensor product)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from equigrid.files import write_atomically
from equigrid.machine import cache_folder

Floats = NDArray[np.float64]
Pair = tuple[int, int]


def pairs_to(degree: int, highest: int) -> tuple[Pair, ...]:
    """The pairs (l₁ ≤ l₂ ≤ highest) whose products make up a degree.

    Of all admissible pairs l₁ < l₂, |l₁ − l₂| ≤ degree ≤ l₁ + l₂, a spanning forest of least cost
    Σ (2l₁ + 1)(2l₂ + 1) (Kruskal; of equal costs the lower l₁ comes first), so that each degree
    still reaches each other; then every degree with itself that can.
    """
    costs = sorted(
        ((2 * low + 1) * (2 * high + 1), low, high)
        for low in range(highest + 1)
        for high in range(low + 1, highest + 1)
        if high - low <= degree <= low + high
    )
    joined = DisjointSet(range(highest + 1))
    tree = [(low, high) for _, low, high in costs if joined.merge(low, high)]
    return (*tree, *((each, each) for each in range(highest + 1) if 2 * each >= degree))


def vanishes(pair: Pair, degree: int) -> bool:
    """Whether a product is zero whatever is multiplied: of a degree with itself to an odd one."""
    return pair[0] == pair[1] and degree % 2 == 1


@cache
def coupling(low: int, high: int, degree: int) -> Floats:
    """e3nn's real Wigner 3j symbol [2l₁ + 1, 2l₂ + 1, 2l + 1]; Σ of squares 1.

    Calculated once on a machine (those of table H: 0.7 s, and 0.03 s to read): kept in the user's
    cache, behind the SHA-256 of its bytes. A file that is not what was written is written anew.
    """
    shape = (2 * low + 1, 2 * high + 1, 2 * degree + 1)
    path = cache_folder() / "couplings" / f"{low}-{high}-{degree}.f64"
    try:
        kept = path.read_bytes()
    except OSError:
        kept = b""
    if kept and hashlib.sha256(kept[32:]).digest() == kept[:32]:
        return np.frombuffer(kept, np.float64, offset=32).reshape(shape)
    import torch
    from e3nn import o3

    found: Floats = o3.wigner_3j(low, high, degree, dtype=torch.float64).numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(found.tobytes()).digest()
        write_atomically(path, digest + found.tobytes(), durable=False)
    except OSError:  # a home that cannot be written: calculated again the next time
        pass
    return found


def couplings(pair: Pair, degrees: Sequence[int]) -> Floats:
    """Of a pair to several degrees, side by side: [(2l₁ + 1)(2l₂ + 1), Σ (2l + 1)]."""
    parts = [coupling(*pair, degree) for degree in degrees]
    return np.concatenate([part.reshape(-1, part.shape[2]) for part in parts], 1)
