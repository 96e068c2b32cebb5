"""Characters, and which representation matrices are: exact ones, hidden ones and noisy ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equigrid.symmetry import (
    FiniteGroup,
    grid_action,
    group_by_name,
    permutation_matrices,
    regular_representation,
)
from equigrid.symmetry.characters import (
    Real,
    _by_class_sums,
    character,
    conjugacy_classes,
    distance_to_regular,
    inner_product,
    irreducibles,
    multiplicities,
    regular_multiplicities,
)

GROUPS = ["C1", "C2", "C3", "C4", "C7", "D1", "D2", "D3", "D4", "D5", "D6", "C4xC4", "D3xC2",
          "D4xD4", "octahedral"]  # fmt: skip
#: Classes of a symmetric group are cycle types; of D_n there are (n+3)/2 or n/2 + 3.
CLASSES = {"C7": 7, "D3": 3, "D4": 5, "D5": 4, "D6": 6, "octahedral": 5, "D4xD4": 25}


def total(*parts: Real) -> Real:
    """The direct sum of representations [n, k, k]."""
    size = sum(part.shape[1] for part in parts)
    found, at = np.zeros((len(parts[0]), size, size)), 0
    for part in parts:
        k = part.shape[1]
        found[:, at : at + k, at : at + k] = part
        at += k
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_characters_are_orthonormal_class_functions_of_the_right_dimensions(name: str) -> None:
    group = group_by_name(name)
    found, classes = irreducibles(group), conjugacy_classes(group)
    assert len(found) == classes.max() + 1 == CLASSES.get(name, len(found))
    assert sum(it.dimension**2 for it in found) == group.order
    products = [[inner_product(group, a.character, b.character) for b in found] for a in found]
    np.testing.assert_allclose(products, np.eye(len(found)), atol=1e-9)
    for it in found:
        for c in range(classes.max() + 1):
            assert np.ptp(it.character[classes == c].real) < 1e-9
    np.testing.assert_allclose(found[0].character, 1)


@pytest.mark.parametrize("name", [name for name in GROUPS if "x" not in name])
def test_characters_found_by_numbers_are_those_of_the_formulas(name: str) -> None:
    group = group_by_name(name)
    known = np.array([it.character for it in irreducibles(group)])
    found = np.array([it.character for it in _by_class_sums(group)])
    overlap = abs(known @ found.conj().T) / group.order
    assert (overlap.round(8).sum(0) == 1).all()
    assert (overlap.round(8).sum(1) == 1).all()


def test_the_characters_of_the_cube_are_those_of_its_permutations() -> None:
    """Of S₄: 1, sign, the plane, its own coordinates and those times sign."""
    group = group_by_name("octahedral")
    assert [it.dimension for it in irreducibles(group)] == [1, 1, 2, 3, 3]
    assert group.matrices is not None
    assert sorted(multiplicities(group, character(group.matrices)).round(9)) == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("name", GROUPS)
def test_the_regular_representation_has_each_as_often_as_its_dimension(name: str) -> None:
    group = group_by_name(name)
    copies = 1 if group.order > 30 else 3
    matrices = permutation_matrices(regular_representation(group, copies * group.order))
    counts = multiplicities(group, character(matrices))
    np.testing.assert_allclose(counts, [copies * it.dimension for it in irreducibles(group)])
    assert distance_to_regular(group, counts) < 1e-9
    np.testing.assert_allclose(regular_multiplicities(group, copies * group.order), counts)


@pytest.mark.parametrize(
    ("name", "shape"), [("C4", (5, 5)), ("D4", (4, 4)), ("octahedral", (3,) * 3)]
)
def test_of_a_permutation_the_trivial_one_counts_the_orbits(
    name: str, shape: tuple[int, ...]
) -> None:
    group = group_by_name(name)
    indices = grid_action(group, shape)
    counts = multiplicities(group, character(permutation_matrices(indices)))
    orbits = {tuple(sorted(set(indices[:, point]))) for point in range(indices.shape[1])}
    assert counts[0] == pytest.approx(len(orbits))
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)


def hidden(group: FiniteGroup, parts: list[int], seed: int, noise: float = 0.0) -> Real:
    """Copies of regular (0), trivial (1) and coordinate (2) representations in a random basis."""
    n = group.order
    own = group.matrices if group.matrices is not None else np.ones((n, 1, 1))
    kinds = [
        permutation_matrices(regular_representation(group, n)), np.ones((n, 1, 1)), own,
    ]  # fmt: skip
    matrices = total(*(kinds[part] for part in parts))
    stream = np.random.default_rng(seed)
    basis = stream.normal(size=matrices.shape[1:])
    found: Real = basis @ matrices @ np.linalg.inv(basis)
    return found + noise * stream.normal(size=found.shape) / np.sqrt(len(basis))


@given(
    st.sampled_from(["C2", "C4", "D3", "C2xC2", "octahedral"]),
    st.lists(st.integers(0, 2), min_size=1, max_size=3),
    st.integers(0, 100),
)
def test_a_change_of_basis_hides_nothing(name: str, parts: list[int], seed: int) -> None:
    group = group_by_name(name)
    plain = multiplicities(group, character(hidden(group, parts, seed)))
    np.testing.assert_allclose(plain, plain.round(), atol=1e-5)
    trivial = plain[0].round()
    own = irreducibles(group)
    assert trivial >= parts.count(0) + parts.count(1)
    dimension = sum(m * it.dimension for m, it in zip(plain, own, strict=True))
    assert dimension == pytest.approx(hidden(group, parts, seed).shape[1])
    noisy = multiplicities(group, character(hidden(group, parts, seed, noise=0.02)))
    assert abs(noisy - plain).max() < 0.25


def test_the_distance_to_the_regular_representation_is_of_the_worst_irreducible() -> None:
    d3, c2 = group_by_name("D3"), group_by_name("C2")
    assert distance_to_regular(c2, np.array([22.0, 20.0])) == 1
    assert distance_to_regular(c2, np.array([42.0, 0.0])) == 21
    assert distance_to_regular(d3, np.array([5.0, 5.0, 10.0])) == 0
    assert distance_to_regular(d3, np.array([6.471, 4.752, 9.39])) == pytest.approx(1.47, abs=0.01)


def test_a_group_with_very_many_classes_is_refused_where_no_formula_is_known() -> None:
    n = 130
    table = (np.arange(n)[:, None] + np.arange(n)) % n
    with pytest.raises(ValueError, match="130 conjugacy classes; allowed: at most 128"):
        irreducibles(FiniteGroup("mine", table, (1,)))
