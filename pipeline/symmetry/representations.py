"""The regular representation on a latent space, as index permutations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.symmetry.groups import FiniteGroup, Indices


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
