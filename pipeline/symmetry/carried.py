"""Which linear action of a group do latents carry? Found from the latents of whole orbits alone.

An eigenvalue of a learned matrix counts also where no latent lies, and independent latents have
the characters of a regular representation; so only directions count in which the action predicts
held-out latents, and there it has to be a representation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equigrid.symmetry.characters import character, multiplicities, regular_multiplicities
from equigrid.symmetry.groups import FiniteGroup

Real = NDArray[np.float64]

#: Of the largest eigenvalue of the covariance: below it there is no latent.
WHITENED = 1e-5
#: Explained covariance from which on a direction is kept; raised by STEP up to HIGHEST.
THRESHOLD, STEP, HIGHEST = 0.5, 0.1, 0.91
#: Shown beside each other: how many directions are explained so well.
LEVELS = (0.5, 0.7, 0.9)
#: Largest defect as a homomorphism, and largest distance of a multiplicity from a whole number.
LARGEST_DEFECT, LARGEST_FRACTION = 0.02, 0.05
#: Of the projection onto the representations.
ITERATIONS = 20


@dataclass(frozen=True)
class Carried:
    """rank: directions that hold latents, r. explained: held-out explained covariance of each, by
    size. threshold: of those kept. representation: [n, k, k], orthogonal, or None where there is
    no linear action. defect: mean of ‖ρ(g)ρ(h) − ρ(gh)‖²/k before the projection.
    r_squared, r_squared_identity, r_squared_representation: of held-out latents by M_g, by leaving
    them where they are, by ρ(g) on the directions kept. distance: root mean square of M_g − ρ(g).
    why: of no action, in words.
    """

    group: FiniteGroup
    rank: int
    explained: Real
    threshold: float
    representation: Real | None
    defect: float
    r_squared: float
    r_squared_identity: float
    r_squared_representation: float
    distance: float
    why: str = ""

    @property
    def kept(self) -> int:
        """k: the dimension of the representation."""
        return 0 if self.representation is None else self.representation.shape[1]

    @cached_property
    def multiplicities(self) -> Real:
        """Of each irreducible; zeros where there is no action."""
        if self.representation is None:
            return np.zeros(len(regular_multiplicities(self.group, 0)))
        return multiplicities(self.group, character(self.representation))

    @property
    def levels(self) -> Mapping[float, int]:
        """k at each of LEVELS."""
        return {level: int((self.explained >= level).sum()) for level in LEVELS}


def split_orbits(latents: Real) -> tuple[Real, Real]:
    """[n, N, d] → every other orbit to fit, and the others to test."""
    return latents[:, ::2], latents[:, 1::2]


def carried_action(
    group: FiniteGroup, fitted: Real, held_out: Real, table: NDArray[np.int64] | None = None
) -> Carried:
    """The action on latents [n, N, d]: z[h, i] is the latent of h·x_i, of other inputs in each.

    table: [n, n], the element by which x moves as by h first and g then; the group's own by
    default. Of an action from the right that is hg, and ρ(g⁻¹) is the representation.
    """
    table = group.table if table is None else table
    fitted, held_out = fitted.astype(np.float64), held_out.astype(np.float64)
    mean = fitted.mean((0, 1))
    values, vectors = np.linalg.eigh(np.cov(fitted.reshape(-1, fitted.shape[2]).T, bias=True))
    there = values > max(values.max(), 0) * WHITENED
    if not there.any():
        return _none(group, 0, np.zeros(0), 0.0, "the latents do not vary")
    whiten = vectors[:, there] / np.sqrt(values[there])
    fit, test = (fitted - mean) @ whiten, (held_out - mean) @ whiten
    maps = _regressions(fit, table)
    residual = _residual(test, table, maps)
    spread = _covariance(test, test)
    explained, directions = np.linalg.eigh((spread - residual + (spread - residual).T) / 2)
    explained, directions = explained[::-1], directions[:, ::-1]
    rank, total = int(there.sum()), np.trace(spread)
    r_squared = 1 - np.trace(residual) / total
    still = np.broadcast_to(np.eye(rank), maps.shape)
    identity = 1 - np.trace(_residual(test, table, still)) / total
    threshold, why = THRESHOLD, "no direction of the latents is explained on held-out inputs"
    defect = float("nan")
    while threshold < HIGHEST:
        basis = directions[:, explained >= threshold]
        if not basis.shape[1]:
            break
        within = basis.T @ maps @ basis
        found, defect = _representation(within, table)
        rho = found if np.array_equal(table, group.table) else found[group.inverse]
        counts = multiplicities(group, character(rho))
        if defect <= LARGEST_DEFECT and abs(counts - counts.round()).max() <= LARGEST_FRACTION:
            kept = test @ basis
            left = np.trace(_residual(kept, table, found)) / np.trace(_covariance(kept, kept))
            distance = float(np.sqrt(((within - found) ** 2).mean()))
            return Carried(
                group, rank, explained, threshold, rho, defect, r_squared, identity, 1 - left,
                distance,
            )  # fmt: skip
        why = "what is explained is no orthogonal representation"
        threshold = round(threshold + STEP, 10)
    return _none(group, rank, explained, threshold, why, defect, r_squared, identity)


def _none(
    group: FiniteGroup, rank: int, explained: Real, threshold: float, why: str,
    defect: float = float("nan"), r_squared: float = float("nan"), identity: float = float("nan"),
) -> Carried:  # fmt: skip
    nan = float("nan")
    return Carried(
        group, rank, explained, threshold, None, defect, r_squared, identity, nan, nan, why
    )


def _covariance(first: Real, second: Real) -> Real:
    """Mean of first · secondᵀ over elements and inputs; [n, N, d] each → [d, d]."""
    found: Real = np.einsum("hid,hie->de", first, second) / (first.shape[0] * first.shape[1])
    return found


def _regressions(z: Real, table: NDArray[np.int64]) -> Real:
    """[n, d, d]: M_g = C_g C_0⁻¹, C_g that of z(gh·x) with z(h·x), pooled over h and x."""
    inverse = np.linalg.inv(_covariance(z, z))
    return np.stack([_covariance(z[row], z) @ inverse for row in table])


def _residual(z: Real, table: NDArray[np.int64], maps: Real) -> Real:
    """[d, d]: covariance of z(gh·x) − M_g z(h·x), the mean over g ≠ 1."""
    total = np.zeros((z.shape[2], z.shape[2]))
    for row, matrix in zip(table[1:], maps[1:], strict=True):
        left = z[row] - z @ matrix.T
        total += _covariance(left, left)
    return total / max(1, len(table) - 1)


def _polar(matrices: Real) -> Real:
    """The nearest orthogonal matrices."""
    left, _, right = np.linalg.svd(matrices)
    found: Real = left @ right
    return found


def _representation(maps: Real, table: NDArray[np.int64]) -> tuple[Real, float]:
    """The orthogonal representation near maps [n, k, k], and the defect of where it began."""
    rho = _polar(maps)
    rho[0] = np.eye(rho.shape[1])
    size = rho.shape[1]
    inverse = np.argmax(table == 0, axis=1)
    defect = float(np.mean([
        ((rho[g] @ rho - rho[table[g]]) ** 2).sum((1, 2)).mean() / size for g in range(len(rho))
    ]))  # fmt: skip
    for _ in range(ITERATIONS):
        # mean over h of ρ(g h⁻¹) ρ(h)
        averaged = np.stack([
            (rho[table[g, inverse]] @ rho).mean(0) for g in range(len(rho))
        ])  # fmt: skip
        moved = _polar(averaged)
        change = abs(moved - rho).max()
        rho = moved
        if change < 1e-12:
            break
    return rho, defect
