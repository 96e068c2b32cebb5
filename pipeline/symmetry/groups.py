"""Finite groups by their multiplication table.

Elements are the integers 0 … n−1; 0 is the identity. A group may carry `matrices`, a faithful
orthogonal action on coordinates, from which the actions on images and volumes are derived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group of order n; raises ValueError where the table is not a group's.

    table: [n, n] int64, `table[g, h]` is the product gh (h first when acting from the left).
    generators: elements whose products reach the whole group.
    matrices: [n, d, d] orthogonal, a homomorphism; None where the group has no natural one.
    factors: the two groups of a direct product, else empty.
    """

    name: str
    table: Indices
    generators: tuple[int, ...]
    matrices: NDArray[np.float64] | None = None
    factors: tuple[FiniteGroup, ...] = field(default=())

    def __post_init__(self) -> None:
        n = len(self.table)
        everything = np.arange(n)
        if self.table.shape != (n, n) or n == 0:
            raise ValueError(f"group {self.name}: the multiplication table is not square")
        if (
            not (np.sort(self.table, axis=0) == everything[:, None]).all()
            or not (np.sort(self.table, axis=1) == everything).all()
        ):
            raise ValueError(f"group {self.name}: a row or column is not a permutation")
        if not (self.table[0] == everything).all() or not (self.table[:, 0] == everything).all():
            raise ValueError(f"group {self.name}: element 0 is not the identity")
        if not (self.table[self.table] == self.table[:, self.table]).all():
            raise ValueError(f"group {self.name}: the product is not associative")
        if len(self._generated()) != n:
            raise ValueError(f"group {self.name}: the generators do not reach every element")
        if self.matrices is not None:
            grams = self.matrices @ np.swapaxes(self.matrices, 1, 2)
            if not np.allclose(grams, np.eye(self.matrices.shape[1]), atol=1e-9):
                raise ValueError(f"group {self.name}: the matrices are not orthogonal")
            products = np.einsum("gij,hjk->ghik", self.matrices, self.matrices)
            if not np.allclose(products, self.matrices[self.table], atol=1e-9):
                raise ValueError(f"group {self.name}: the matrices are not a homomorphism")
        self.table.setflags(write=False)

    def _generated(self) -> set[int]:
        reached, frontier = {0}, [0]
        while frontier:
            element = frontier.pop()
            for generator in self.generators:
                product = int(self.table[element, generator])
                if product not in reached:
                    reached.add(product)
                    frontier.append(product)
        return reached

    @property
    def order(self) -> int:
        return len(self.table)

    @cached_property
    def inverse(self) -> Indices:
        """[n]: `inverse[g]` is g⁻¹."""
        inverse: Indices = np.argmax(self.table == 0, axis=1).astype(np.int64)
        return inverse

    @property
    def is_abelian(self) -> bool:
        return bool((self.table == self.table.T).all())


def _rotations(n: int) -> NDArray[np.float64]:
    """[n, 2, 2]: counter-clockwise rotations by 2πk/n in (x right, y up) coordinates."""
    angles = 2 * np.pi * np.arange(n) / n
    cos, sin = np.cos(angles), np.sin(angles)
    matrices = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    rounded = np.round(matrices)
    # Quarter turns must be exact: they become pixel permutations.
    return np.where(np.abs(matrices - rounded) < 1e-12, rounded, matrices) + 0.0


@lru_cache
def cyclic(n: int) -> FiniteGroup:
    """C_n: element k is the counter-clockwise rotation by 2πk/n."""
    k = np.arange(n)
    return FiniteGroup(f"C{n}", (k[:, None] + k) % n, (1 % n,), _rotations(n))


@lru_cache
def dihedral(n: int) -> FiniteGroup:
    """D_n, order 2n: element f·n + k flips left–right f times first, then rotates by 2πk/n."""
    flip, k = np.divmod(np.arange(2 * n), n)
    sign = 1 - 2 * flip
    rotation = (k[:, None] + sign[:, None] * k) % n
    table = ((flip[:, None] + flip) % 2) * n + rotation
    mirror = np.stack([np.eye(2), np.diag([-1.0, 1.0])])
    matrices = _rotations(n)[k] @ mirror[flip] + 0.0
    return FiniteGroup(f"D{n}", table, (1, n) if n > 1 else (1,), matrices)


def direct_product(left: FiniteGroup, right: FiniteGroup) -> FiniteGroup:
    """left × right: element g·|right| + h is the pair (g, h), multiplied factor by factor."""
    n = right.order
    g, h = np.divmod(np.arange(left.order * n), n)
    table = left.table[g[:, None], g] * n + right.table[h[:, None], h]
    generators = (*(a * n for a in left.generators), *right.generators)
    return FiniteGroup(f"{left.name}x{right.name}", table, generators, factors=(left, right))


_FAMILIES = {"C": cyclic, "D": dihedral}
GROUP_NAMES = "C1, C2, …, D1, D2, … and products such as C4xC4"


@lru_cache
def group_by_name(name: str) -> FiniteGroup:
    """The group a name such as `C4`, `D1` or `C4xC4` stands for; ValueError for any other."""
    parts = []
    for part in name.split("x"):
        match = re.fullmatch(r"([CD])([1-9]\d?)", part)
        if match is None:
            raise ValueError(f"unknown group {name!r}; allowed: {GROUP_NAMES}")
        parts.append(_FAMILIES[match[1]](int(match[2])))
    product = parts[0]
    for part_group in parts[1:]:
        product = direct_product(product, part_group)
    return product
