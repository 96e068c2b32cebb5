"""Characters of finite groups: which representation a set of matrices is (paper, section 3).

The character of a representation is the trace of each of its matrices; it is the same on a
conjugacy class, and it determines the representation up to a change of basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equigrid.symmetry.groups import FiniteGroup, Indices

Complex = NDArray[np.complexfloating[Any, Any]]
Real = NDArray[np.float64]

#: Of classes, for characters found by numbers: their products take the third power of memory.
MOST_CLASSES = 128


@dataclass(frozen=True, eq=False)
class Irreducible:
    """An irreducible representation over the complex numbers.

    character: [n], its trace at every element of the group. dimension: its trace at the identity.
    """

    name: str
    character: Complex

    @property
    def dimension(self) -> int:
        return round(float(self.character[0].real))


def conjugacy_classes(group: FiniteGroup) -> Indices:
    """[n]: of each element the number of its class {hgh⁻¹}; classes by their lowest element."""
    h = np.arange(group.order)
    lowest = np.array([
        group.table[group.table[h, g], group.inverse].min() for g in range(group.order)
    ])  # fmt: skip
    found: Indices = np.unique(lowest, return_inverse=True)[1].astype(np.int64)
    return found


@lru_cache(maxsize=32)
def irreducibles(group: FiniteGroup) -> tuple[Irreducible, ...]:
    """The group's irreducible representations, the trivial one first.

    Of C_n in the order of the roots of unity 1, ω, ω², … that the generator goes to; of D_n
    trivial, sign and, for even n, two more of dimension 1, then those of dimension 2; of a product
    all products of its factors'; of any other group by their dimensions.
    Raises ValueError for another group of more than MOST_CLASSES conjugacy classes.
    """
    if group.factors:
        left, right = map(irreducibles, group.factors)
        return tuple(
            Irreducible(f"{a.name} ⊗ {b.name}", np.kron(a.character, b.character))
            for a in left
            for b in right
        )
    kind, number = group.name[:1], group.name[1:]
    if number.isdigit() and kind == "C" and group.order == int(number):
        return _of_cyclic(group.order)
    if number.isdigit() and kind == "D" and group.order == 2 * int(number):
        return _of_dihedral(int(number))
    return _by_class_sums(group)


def _of_cyclic(n: int) -> tuple[Irreducible, ...]:
    k = np.arange(n)
    names = {1: ["trivial"], 2: ["trivial", "sign"], 4: ["1", "i", "−1", "−i"]}
    found = names.get(n, ["1", *(f"ω{_superscript(m)}" for m in range(1, n))])
    return tuple(
        Irreducible(name, _exact(np.exp(2j * np.pi * m * k / n))) for m, name in enumerate(found)
    )


def _superscript(number: int) -> str:
    return "" if number == 1 else str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _of_dihedral(n: int) -> tuple[Irreducible, ...]:
    flip, k = np.divmod(np.arange(2 * n), n)
    lines = [("trivial", np.ones(2 * n)), ("sign", (-1.0) ** flip)]
    if n == 1:
        return tuple(Irreducible(name, values + 0j) for name, values in lines)
    if n % 2 == 0:
        lines += [("sign of a", (-1.0) ** k), ("sign of ab", (-1.0) ** (k + flip))]
    planes = range(1, (n - 1) // 2 + 1)
    for m in planes:
        name = "standard" if len(planes) == 1 else f"plane {m}"
        lines.append((name, np.where(flip == 0, 2 * np.cos(2 * np.pi * m * k / n), 0.0)))
    return tuple(Irreducible(name, _exact(values + 0j)) for name, values in lines)


def _exact(values: Complex) -> Complex:
    """With what is within rounding of a whole number replaced by it."""
    parts = [
        np.where(abs(p - np.round(p)) < 1e-12, np.round(p), p) for p in (values.real, values.imag)
    ]
    found: Complex = parts[0] + 0.0 + 1j * (parts[1] + 0.0)
    return found


def _by_class_sums(group: FiniteGroup) -> tuple[Irreducible, ...]:
    """Burnside's way: the class sums commute, and their common eigenvectors are the characters."""
    classes = conjugacy_classes(group)
    sizes = np.bincount(classes)
    count = len(sizes)
    if count > MOST_CLASSES:
        raise ValueError(
            f"group {group.name} has {count} conjugacy classes; allowed: at most {MOST_CLASSES}, "
            "or a product of groups"
        )
    firsts = np.array([int(np.argmax(classes == c)) for c in range(count)])
    # constants[a, b, c]: in how many ways the first element of class c is one of a times one of b.
    constants = np.zeros((count, count, count))
    for c, element in enumerate(firsts):
        b = group.table[group.inverse, element]
        np.add.at(constants[:, :, c], (classes, classes[b]), 1)
    # A combination with unequal weights tells the characters apart; its eigenvectors are those of
    # every class sum at once.
    mixed = np.tensordot(np.random.default_rng(0).normal(size=count), constants, 1)
    _, vectors = np.linalg.eig(mixed)
    central = vectors / vectors[0]  # ω(c) = |c| χ(c) / χ(1), and ω of the identity is 1
    norms = (abs(central) ** 2 / sizes[:, None]).sum(0)
    dimensions = np.round(np.sqrt(group.order / norms))
    characters = (central * dimensions / sizes[:, None]).T
    order = sorted(
        range(count),
        key=lambda n: (
            dimensions[n],
            *(-np.round(characters[n].real, 6)),
            *np.round(characters[n].imag, 6),
        ),
    )
    names: list[str] = []
    for n in order:
        stem = "trivial" if not names else f"dim {dimensions[n]:.0f}"
        same = sum(name.startswith(stem) for name in names)
        names.append(f"{stem}{chr(ord('a') + same)}" if names else stem)
    return tuple(
        Irreducible(name, _exact(characters[n][classes]))
        for name, n in zip(names, order, strict=True)
    )


def inner_product(group: FiniteGroup, first: Complex, second: Complex) -> complex:
    """⟨χ, ψ⟩ = 1/|G| Σ χ(g) ψ(g)* of characters [n] (paper, Eq. 3)."""
    return complex((first * second.conj()).sum() / group.order)


def character(matrices: Real | Complex) -> Complex:
    """[n, d, d] matrices, one an element → [n] traces."""
    found: Complex = np.trace(matrices, axis1=1, axis2=2).astype(np.complex128)
    return found


def multiplicities(group: FiniteGroup, values: Complex) -> Real:
    """How often each irreducible is in a representation of character [n] `values`.

    Of matrices that are only nearly a representation the numbers are only nearly whole.
    """
    return np.array([inner_product(group, values, it.character).real for it in irreducibles(group)])


def regular_multiplicities(group: FiniteGroup, dimension: float) -> Real:
    """d_i · d / |G|: of the multiple of the regular representation that has dimension d."""
    return np.array([it.dimension * dimension / group.order for it in irreducibles(group)])


def distance_to_regular(group: FiniteGroup, counts: Real) -> float:
    """The largest departure of counts [k] from the multiple of the regular representation.

    The multiple is that of their own dimension Σ m_i d_i, whole or not.
    """
    dimension = sum(m * it.dimension for m, it in zip(counts, irreducibles(group), strict=True))
    return float(abs(counts - regular_multiplicities(group, dimension)).max())
