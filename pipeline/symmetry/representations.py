"""The regular representation on a latent space, as index permutations."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from equigrid.symmetry.groups import FiniteGroup, Indices

#: Permutations that are drawn for a scrambled action.
SCRAMBLES = 100


def regular_representation(group: FiniteGroup, dimension: int) -> Indices:
    """m = ⌊d/|G|⌋ copies of the left regular representation, padded with the trivial one (Eq. 5).

    Returns [n, d] gather indices: (ρ_Z(g) z)[i] = z[indices[g, i]], with ρ_Z(g) e_h = e_{gh} in
    each copy. For a product H × H this is R_H(g) ⊗ R_H(h) in each copy.
    Raises ValueError where d < |G|: not one copy would fit.
    """
    n = group.order
    copies, rest = divmod(dimension, n)
    if copies == 0:
        raise ValueError(f"a latent of {dimension} is smaller than the group {group.name} ({n})")
    within = group.table[group.inverse]  # [g, h] -> g⁻¹h: the coordinate that moves to h
    blocks = (np.arange(copies) * n)[None, :, None] + within[:, None, :]
    padding = np.broadcast_to(np.arange(copies * n, dimension), (n, rest))
    return np.concatenate([blocks.reshape(n, copies * n), padding], axis=1)


def permutation_matrices(indices: Indices) -> NDArray[np.float64]:
    """[n, d] gather indices as [n, d, d] matrices M with M z = z[indices]."""
    return np.eye(indices.shape[1])[indices]


def broken_products(group: FiniteGroup, elements: Indices) -> int:
    """Of the n² products how many a map π of the elements breaks, π(g)π(h) ≠ π(gh)."""
    products = group.table[elements[:, None], elements[None, :]]
    return int((products != elements[group.table]).sum())


def scrambled_elements(group: FiniteGroup) -> Indices:
    """[n]: a permutation π of the elements that is no homomorphism, so that ρ(π(g)) is no action.

    Drawn from a stream of the group's name: SCRAMBLES permutations that move the identity, which a
    homomorphism does not. Of these the one is taken that also breaks the most products when it is
    put right at the identity, g ↦ π(e)⁻¹π(g); for C3 and D1xD1 that is a homomorphism for every π.
    Raises ValueError for groups of fewer than three elements.
    """
    n = group.order
    if n < 3:
        raise ValueError(
            f"group {group.name} has {n} elements: too few to scramble; allowed: at least 3"
        )
    seed = hashlib.sha256(f"scrambled {group.name}".encode()).digest()[:16]
    # The bit generator's own numbers, sorted: NumPy promises them to stay, its shuffles not.
    numbers = np.random.PCG64(int.from_bytes(seed, "big")).random_raw((SCRAMBLES, n))
    drawn = np.argsort(numbers, axis=1, kind="stable").astype(np.int64)
    drawn = np.where(drawn[:, :1] == 0, np.roll(drawn, 1, axis=1), drawn)
    put_right = group.table[group.inverse[drawn[:, :1]], drawn]
    broken = [broken_products(group, elements) for elements in put_right]
    found: Indices = drawn[int(np.argmax(broken))]
    return found
