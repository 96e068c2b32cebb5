"""Finite groups: the axioms, the families' conventions, and tables that are no group's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from equigrid.symmetry import FiniteGroup, cyclic, dihedral, direct_product, group_by_name

FACTORS = [f"C{n}" for n in range(1, 9)] + [f"D{n}" for n in range(1, 7)]
factors = st.sampled_from(FACTORS).map(group_by_name)
octahedral = st.just(group_by_name("octahedral"))
groups = factors | octahedral | st.builds(direct_product, factors, factors)

#: A Latin square with an identity where every element is its own inverse: a loop, no group.
LOOP = [[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]]
C2 = [[0, 1], [1, 0]]
C4 = [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]


@given(groups)
def test_axioms(group):
    """Closure, identity 0, inverses on both sides, associativity."""
    table, everything = group.table, np.arange(group.order)
    assert table.min() == 0
    assert table.max() == group.order - 1
    assert (table[0] == everything).all()
    assert (table[:, 0] == everything).all()
    assert (table[everything, group.inverse] == 0).all()
    assert (table[group.inverse, everything] == 0).all()
    left = table[table[:, :, None], everything]  # (gh)k
    right = table[everything[:, None, None], table]  # g(hk)
    assert (left == right).all()


@given(groups)
def test_generators_reach_every_element(group):
    """Multiplying by generators from the left until nothing new comes gives the whole group."""
    reached = {0}
    while True:
        more = {int(group.table[s, g]) for s in group.generators for g in reached} | reached
        if more == reached:
            break
        reached = more
    assert reached == set(range(group.order))


@given(factors | octahedral)
def test_matrices_are_a_faithful_orthogonal_action(group):
    matrices = group.matrices
    identity = np.broadcast_to(np.eye(matrices.shape[1]), matrices.shape)
    np.testing.assert_allclose(matrices @ matrices.swapaxes(1, 2), identity, atol=1e-12)
    products = matrices[:, None] @ matrices
    np.testing.assert_allclose(products, matrices[group.table], atol=1e-12)
    flat = np.round(matrices.reshape(group.order, -1), 6)
    assert len(np.unique(flat, axis=0)) == group.order


@given(st.integers(1, 8))
def test_cyclic_elements_are_counter_clockwise_rotations(n):
    group = cyclic(n)
    assert group.order == n
    assert group.is_abelian
    for k in range(n):
        angle = 2 * np.pi * k / n
        np.testing.assert_allclose(
            group.matrices[k] @ [1, 0], [np.cos(angle), np.sin(angle)], atol=1e-12
        )


@given(st.integers(1, 6), st.data())
def test_dihedral_elements_flip_first_then_rotate(n, data):
    """Element f·n + k is rotation(k) · flip^f, with flip (x, y) → (−x, y)."""
    group = dihedral(n)
    assert group.order == 2 * n
    assert group.is_abelian == (n <= 2)
    flip, k = data.draw(st.integers(0, 1)), data.draw(st.integers(0, n - 1))
    expected = cyclic(n).matrices[k] @ np.diag([(-1.0) ** flip, 1.0])
    np.testing.assert_allclose(group.matrices[flip * n + k], expected, atol=1e-12)


def test_the_octahedral_group_is_the_rotations_of_the_cube():
    """The identity, 9 rotations about faces, 6 about edges, 8 about diagonals; ≅ S₄."""
    group = group_by_name("octahedral")
    matrices = group.matrices
    assert group.order == 24
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    cosines = (np.trace(matrices, axis1=1, axis2=2) - 1) / 2
    angles, counts = np.unique(np.degrees(np.arccos(cosines)).round(6), return_counts=True)
    assert dict(zip(angles, counts, strict=True)) == {0: 1, 90: 6, 120: 8, 180: 9}
    half_turns = np.diagonal(matrices[np.isclose(cosines, -1)], axis1=1, axis2=2)
    assert np.isclose(half_turns, 0).any(1).sum() == 6  # about edges: no axis is kept up to sign
    # S₄: it permutes the four diagonals, each permutation once.
    diagonals = np.array([[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]])
    moved = np.einsum("gij,dj->gdi", matrices, diagonals)
    permuted = np.abs(np.einsum("gdi,ei->gde", moved, diagonals)).argmax(2)
    assert len({tuple(row) for row in permuted.tolist()}) == 24


@given(factors, factors, st.data())
def test_a_direct_product_multiplies_factor_by_factor(left, right, data):
    """Element g·|right| + h is the pair (g, h)."""
    product = direct_product(left, right)
    assert product.order == left.order * right.order
    assert product.factors == (left, right)
    g, other_g = (data.draw(st.integers(0, left.order - 1)) for _ in range(2))
    h, other_h = (data.draw(st.integers(0, right.order - 1)) for _ in range(2))
    found = product.table[g * right.order + h, other_g * right.order + other_h]
    assert found == left.table[g, other_g] * right.order + right.table[h, other_h]


@pytest.mark.parametrize(
    ("table", "generators", "matrices", "reason"),
    [
        pytest.param(np.zeros((0, 0)), (), None, "not square", id="no element"),
        pytest.param([[0, 1, 2], [1, 2, 0]], (1,), None, "not square", id="not square"),
        pytest.param([[0, 1], [1, 1]], (1,), None, "not a permutation", id="no inverse"),
        pytest.param([[1, 0], [0, 1]], (0,), None, "not the identity", id="identity is not 0"),
        pytest.param(LOOP, (1, 2), None, "not associative", id="not associative"),
        pytest.param([[0.0]], (), None, "no array of integers", id="a table of floats"),
        pytest.param(0, (), None, "not square", id="a table without axes"),
        pytest.param(C2, (2,), None, "generator 2", id="a generator that is no element"),
        pytest.param(C2, (1,), [np.eye(2)], "2 square", id="a matrix too few"),
        pytest.param([[0]], (), [-np.eye(2)], "homomorphism", id="another matrix of the identity"),
        pytest.param(C4, (2,), None, "do not reach", id="generators of a subgroup only"),
        pytest.param(
            C2, (1,), [np.eye(2), [[0, -1], [1, 0]]], "homomorphism", id="matrix of order 4 in C2"
        ),
        pytest.param(
            C2, (1,), [np.eye(2), [[1, 1], [0, -1]]], "orthogonal", id="matrices not orthogonal"
        ),
    ],
)
def test_what_is_no_group_is_refused(table, generators, matrices, reason):
    table = np.array(table, float if reason == "no array of integers" else np.int64)
    matrices = None if matrices is None else np.array(matrices, float)
    with pytest.raises(ValueError, match=f"group X: .*{reason}"):
        FiniteGroup("X", table, generators, matrices)


@given(groups, st.data())
def test_one_wrong_entry_in_a_table_is_refused(group, data):
    assume(group.order > 1)
    place = tuple(data.draw(st.integers(0, group.order - 1)) for _ in range(2))
    table = group.table.copy()
    wrong = data.draw(st.integers(0, group.order - 1).filter(lambda value: value != table[place]))
    table[place] = wrong
    with pytest.raises(ValueError, match="group X"):
        FiniteGroup("X", table, group.generators)


@pytest.mark.parametrize("name", ["", "Q8", "C0", "C", "c4", "C04", "C100", "C4x", "C4XC4", "C4 "])
def test_unknown_group_names_are_refused(name):
    with pytest.raises(ValueError, match=r"unknown group .*allowed: C1"):
        group_by_name(name)


@given(groups, st.data())
def test_lights_test_finds_what_all_triples_find(group, data):
    """Four products swapped, so that rows and columns stay permutations with an identity."""
    table, everything = group.table.copy(), range(1, group.order)
    involutions = [s for s in everything if table[s, s] == 0]
    assume(involutions and group.order > 3)
    s = data.draw(st.sampled_from(involutions))
    others = st.sampled_from([each for each in everything if each != s])
    r, c = data.draw(others), data.draw(others)
    rows, columns = (r, table[r, s]), (c, table[s, c])
    square = np.ix_(rows, columns)
    assert table[square][0, 0] == table[square][1, 1]
    table[square] = table[square][::-1]
    is_associative = (table[table] == table[:, table]).all()
    try:
        FiniteGroup("X", table, tuple(everything))
    except ValueError as error:
        assert "not associative" in str(error)  # noqa: PT017 - most tables are refused
        assert not is_associative
    else:
        assert is_associative


@pytest.mark.parametrize("name", ["C4xC4xC4xC4xC4xC2", "C99xC99", "D99xC6", "x".join(["D99"] * 10)])
def test_groups_too_large_to_bear_are_refused_by_their_names(name, monkeypatch):
    """Nothing of them is made."""
    monkeypatch.setattr("equigrid.symmetry.groups._factor", lambda part: pytest.fail(part))
    with pytest.raises(ValueError, match=r"elements; allowed: at most 1024"):
        group_by_name(name)


def test_the_largest_group_is_a_group():
    group = group_by_name("C4xC4xC4xC4xC4")
    assert group.order == 1024
    assert group.is_abelian
    assert group.table[4**4, 2 * 4**4 + 1] == 3 * 4**4 + 1


def test_products_of_too_many_factors_are_refused():
    with pytest.raises(ValueError, match="50 factors; allowed: at most 10"):
        group_by_name("x".join(["C1"] * 50))


def test_a_table_of_ones_own_that_is_too_large_is_refused():
    k = np.arange(1025)
    with pytest.raises(ValueError, match="1025 elements; allowed: at most 1024"):
        FiniteGroup("X", (k[:, None] + k) % 1025, (1,))


def test_a_table_cannot_be_changed_afterwards():
    """Groups are shared between callers, so their tables are read-only."""
    with pytest.raises(ValueError, match="read-only"):
        group_by_name("C4").table[0, 0] = 1
