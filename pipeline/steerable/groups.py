"""Groups that filters are steered by: subgroups of O(2) and O(3), and their representations.

A representation is a function from an element, an orthogonal matrix [d, d], to another one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from equigrid.steerable.harmonics import harmonic_action
from equigrid.symmetry import FiniteGroup, plane_group, vector_action

Real = NDArray[np.float64]
Representation = Callable[[Real], Real]
TRIVIAL = "trivial"
#: Degrees of the irreducibles of SO(3) that are there; O(3) has each with both parities.
SO3_DEGREES, O3_DEGREES = 3, 2


@dataclass(frozen=True, eq=False)
class SteeringGroup:
    """A closed subgroup of O(d), d = 2 or 3.

    generators: a few elements [d, d]; their products are the group, or lie dense in it.
    elements: [n, d, d] of a finite group, the identity first; None of SO(3) and O(3).
    representations: the irreducibles, by name, the trivial one first; of a finite group also
    `regular` and `vector`, components along columns and rows (`vector_action`).
    """

    name: str
    dimension: int
    generators: tuple[Real, ...]
    representations: Mapping[str, Representation]
    elements: Real | None = None
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one = np.eye(self.dimension)
        self.sizes.update({name: len(it(one)) for name, it in self.representations.items()})

    def summed(self, names: Sequence[str], g: Real) -> Real:
        """The direct sum of representations at g."""
        size, at = sum(self.sizes[name] for name in names), 0
        found = np.zeros((size, size))
        for name in names:
            block = self.representations[name](g)
            found[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        return found

    @property
    def irreducibles(self) -> list[str]:
        return [name for name in self.representations if name not in ("regular", "vector")]


def _part(degree: int, place: int) -> Representation:
    return lambda g: harmonic_action(degree, g)[place : place + 1, place : place + 1]


def _degree(degree: int) -> Representation:
    return lambda g: harmonic_action(degree, g)


def _determinant(g: Real) -> Real:
    return np.array([[float(np.sign(np.linalg.det(g)))]])


def steering_group(group: FiniteGroup) -> SteeringGroup:
    """A cyclic or dihedral group that acts on images; of a product of one with itself, that one.

    Raises ValueError where the group has no action on the plane.
    """
    group = plane_group(group)
    matrices = np.ascontiguousarray(cast(Real, group.matrices), np.float64)
    vectors = vector_action(group)
    return _steering(group.name, group.generators, matrices.tobytes(), vectors.tobytes())


@lru_cache(maxsize=32)
def _steering(
    name: str, generators: tuple[int, ...], matrix_data: bytes, vector_data: bytes
) -> SteeringGroup:
    """One object for equal groups, so that their bases are made once a process."""
    matrices, vectors = (
        np.frombuffer(data, np.float64).reshape(-1, 2, 2) for data in (matrix_data, vector_data)
    )
    turns = int((np.linalg.det(matrices) > 0).sum())
    mirrored = turns < len(matrices)
    found: dict[str, Representation] = {TRIVIAL: _degree(0)}
    if mirrored:
        found["determinant"] = _determinant
    for degree in range(1, (turns - 1) // 2 + 1):
        found[f"degree {degree}"] = _degree(degree)
    if turns % 2 == 0:
        found[f"cosine {turns // 2}"] = _part(turns // 2, 0)
        if mirrored:
            found[f"sine {turns // 2}"] = _part(turns // 2, 1)

    def vector(g: Real) -> Real:
        """The matrix of the element that g is."""
        turned: Real = vectors[np.abs(matrices - g).sum((1, 2)).argmin()]
        return turned

    def regular(g: Real) -> Real:
        """g moves the function of one element h to that of gh."""
        products = np.einsum("ij,njk->nik", g, matrices)
        gaps = np.abs(products[:, None] - matrices[None]).sum((2, 3))  # [h, at]
        moved: Real = (gaps.T < 1e-6).astype(float)
        return moved

    moves = tuple(matrices[n] for n in generators) or (matrices[0],)
    more: dict[str, Representation] = {"regular": regular, "vector": vector}
    return SteeringGroup(name, 2, moves, found | more, matrices)


def turn(axis: tuple[float, float, float], angle: float) -> Real:
    """The rotation about an axis of space by an angle in radians (Rodrigues)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    found: Real = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return found


@lru_cache(maxsize=2)
def rotations_of_space(mirrored: bool = False) -> SteeringGroup:
    """SO(3) with the irreducibles of degree 0 to 3; mirrored, O(3) with 0 to 2 of either parity.

    Its generators are rotations by angles that are no rational part of a turn.
    """
    generators = [turn((1, 0.3, -0.2), 1.0), turn((-0.4, 1, 0.5), 2.0), turn((0.2, -0.7, 1), 1.5)]
    if not mirrored:
        names = [TRIVIAL, *(f"degree {n}" for n in range(1, SO3_DEGREES + 1))]
        found = {name: _degree(n) for n, name in enumerate(names)}
        return SteeringGroup("SO(3)", 3, tuple(generators), found)

    def with_parity(degree: int, odd: bool) -> Representation:
        """Harmonics of a degree have the degree's own parity: −1 acts by (−1)^degree."""
        turned = degree % 2 == 1

        def act(g: Real) -> Real:
            factor = _determinant(g)[0, 0] if turned != odd else 1.0
            return factor * harmonic_action(degree, g)

        return act

    both = {
        f"degree {n} {'odd' if odd else 'even'}" if (n or odd) else TRIVIAL: with_parity(n, odd)
        for n in range(O3_DEGREES + 1)
        for odd in (False, True)
    }
    return SteeringGroup("O(3)", 3, (*generators, -np.eye(3)), both)
