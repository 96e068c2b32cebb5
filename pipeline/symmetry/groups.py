"""Finite groups by their multiplication table.

Elements are the integers 0 … n−1; 0 is the identity. A group may carry `matrices`, a faithful
orthogonal action on coordinates, from which the actions on images and volumes are derived.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

#: Elements of a group. Its table has their square, 8 MB of them; D16xD16 has 1024.
LARGEST_ORDER = 1024
#: Of a product: with two elements each, ten have 1024.
MOST_FACTORS = 10


@dataclass(frozen=True, eq=False)
class FiniteGroup:
    """A finite group of order n ≤ LARGEST_ORDER; ValueError where the table is not a group's.

    table: [n, n] int64, `table[g, h]` is the product gh (h first when acting from the left).
    generators: elements whose products reach the whole group.
    matrices: [n, d, d] orthogonal, a homomorphism; None where the group has no natural one.
    factors: the two groups of a direct product, else empty.
    vectors: [n, 2, 2], how vectors of a plane field turn where that is not by the matrices
    (`vector_action`).

    >>> import numpy as np
    >>> from equigrid import FiniteGroup
    >>> turns = np.arange(4)
    >>> c4 = FiniteGroup("mine", (turns[:, None] + turns) % 4, generators=(1,))
    >>> c4.order, int(c4.table[1, 3])
    (4, 0)
    """

    name: str
    table: Indices
    generators: tuple[int, ...]
    matrices: NDArray[np.float64] | None = None
    factors: tuple[FiniteGroup, ...] = field(default=())
    vectors: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = self._check_shapes()
        everything = np.arange(n)
        if (
            not (np.sort(self.table, axis=0) == everything[:, None]).all()
            or not (np.sort(self.table, axis=1) == everything).all()
        ):
            raise ValueError(f"group {self.name}: a row or column is not a permutation")
        if not (self.table[0] == everything).all() or not (self.table[:, 0] == everything).all():
            raise ValueError(f"group {self.name}: element 0 is not the identity")
        if len(self._generated()) != n:
            raise ValueError(f"group {self.name}: the generators do not reach every element")
        # Light's test: the a with (x·a)·y = x·(a·y) for all x and y are closed under the product,
        # so what holds for generators holds for every element; n² each instead of n³.
        for a in self.generators:
            if not (self.table[self.table[:, a]] == self.table[:, self.table[a]]).all():
                raise ValueError(f"group {self.name}: the product is not associative")
        for matrices in (self.matrices, self.vectors):
            if matrices is not None:
                self._check_matrices(matrices)
        self.table.setflags(write=False)

    def _check_shapes(self) -> int:
        """The order; ValueError where the fields are no table, elements and matrices."""
        table: object = self.table
        if not isinstance(table, np.ndarray) or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(f"group {self.name}: the multiplication table is no array of integers")
        n = len(table) if table.ndim else 0
        if table.shape != (n, n) or n == 0:
            raise ValueError(f"group {self.name}: the multiplication table is not square")
        if n > LARGEST_ORDER:
            raise ValueError(_too_large(self.name, n))
        for generator in self.generators:
            if not isinstance(generator, int | np.integer) or not 0 <= generator < n:
                raise ValueError(f"group {self.name}: generator {generator!r} is no element")
        return n

    def _check_matrices(self, matrices: NDArray[np.float64]) -> None:
        """Orthogonal, and a homomorphism.

        M(gs) = M(g)M(s) for all g and generators s is enough: every h is a product s₁…sₖ, and
        M(gh) = M(gs₁…sₖ₋₁)M(sₖ) = … = M(g)M(s₁)…M(sₖ), which with g = e, M(e) = 1 is M(g)M(h).
        """
        n = self.order
        if np.ndim(matrices) != 3 or matrices.shape != (n, *matrices.shape[1:2] * 2):
            raise ValueError(f"group {self.name}: the matrices are not {n} square ones")
        one = np.eye(matrices.shape[1])
        if not np.allclose(matrices @ np.swapaxes(matrices, 1, 2), one, atol=1e-9):
            raise ValueError(f"group {self.name}: the matrices are not orthogonal")
        if not np.allclose(matrices[0], one, atol=1e-9) or not all(
            np.allclose(matrices @ matrices[s], matrices[self.table[:, s]], atol=1e-9)
            for s in self.generators
        ):
            raise ValueError(f"group {self.name}: the matrices are not a homomorphism")

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


def _too_large(name: str, order: int) -> str:
    return f"group {name} has {order} elements; allowed: at most {LARGEST_ORDER}"


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


@lru_cache
def octahedral() -> FiniteGroup:
    """The 24 proper rotations of the cube (≅ S₄), as signed permutations of three axes.

    Generated by quarter turns about the last axis and about the first.
    """
    matrices = np.array([
        np.diag(signs)[list(order)].astype(float)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ])  # fmt: skip
    matrices = matrices[np.linalg.det(matrices) > 0] + 0.0
    products = np.einsum("gij,hjk->ghik", matrices, matrices)
    table = (products[:, :, None] == matrices).all((-2, -1)).argmax(-1)
    quarter_turns = (
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    )
    generators = tuple(int((matrices == turn).all((1, 2)).argmax()) for turn in quarter_turns)
    return FiniteGroup("octahedral", table, generators, matrices)


def direct_product(left: FiniteGroup, right: FiniteGroup) -> FiniteGroup:
    """left × right: element g·|right| + h is the pair (g, h), multiplied factor by factor."""
    n = right.order
    g, h = np.divmod(np.arange(left.order * n), n)
    table = left.table[g[:, None], g] * n + right.table[h[:, None], h]
    generators = (*(a * n for a in left.generators), *right.generators)
    return FiniteGroup(f"{left.name}x{right.name}", table, generators, factors=(left, right))


_FAMILIES = {"C": cyclic, "D": dihedral}
GROUP_NAMES = "C1, C2, …, C99, D1, D2, …, D99, octahedral and products such as C4xC4"


@lru_cache(maxsize=32)
def group_by_name(name: str) -> FiniteGroup:
    """The group a name such as `C4`, `D1` or `C4xC4` stands for; ValueError for any other."""
    parts = name.split("x")
    if len(parts) > MOST_FACTORS:
        raise ValueError(
            f"group {name[:20]}… has {len(parts)} factors; allowed: at most {MOST_FACTORS}"
        )
    # By the name alone: nothing of a group that is too large is made.
    order = math.prod(_order(part, name) for part in parts)
    if order > LARGEST_ORDER:
        raise ValueError(_too_large(name, order))
    return functools.reduce(direct_product, map(_factor, parts))


def _order(part: str, name: str) -> int:
    if part == "octahedral":
        return 24
    match = re.fullmatch(r"([CD])([1-9][0-9]?)", part)
    if match is None:
        raise ValueError(f"unknown group {name!r}; allowed: {GROUP_NAMES}")
    return int(match[2]) * (2 if match[1] == "D" else 1)


def _factor(part: str) -> FiniteGroup:
    return octahedral() if part == "octahedral" else _FAMILIES[part[0]](int(part[1:]))
