"""The latent action: m copies of the left regular representation, as index gathers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equigrid.symmetry import (
    direct_product,
    group_by_name,
    permutation_matrices,
    regular_representation,
)

FACTORS = [f"C{n}" for n in range(1, 9)] + [f"D{n}" for n in range(1, 7)]
factors = st.sampled_from(FACTORS).map(group_by_name)
groups = factors | st.builds(direct_product, factors, factors)


@st.composite
def represented(draw):
    """A group, a latent that holds one to three copies, and the gather indices."""
    group = draw(groups)
    dimension = draw(st.integers(group.order, 3 * group.order + 2))
    return group, dimension, regular_representation(group, dimension)


@given(represented(), st.data())
def test_gathers_compose_like_the_group(case, data):
    """ρ(g)(ρ(h)z) = ρ(gh)z for every pair, and ρ(e) = 1."""
    group, dimension, indices = case
    assert indices.shape == (group.order, dimension)
    assert (indices[0] == np.arange(dimension)).all()
    g, h = (data.draw(st.integers(0, group.order - 1)) for _ in range(2))
    z = np.random.default_rng(0).normal(size=dimension)
    np.testing.assert_array_equal(z[indices[h]][indices[g]], z[indices[group.table[g, h]]])
    # All pairs at once: gathering by h first, then by g, is indices[h][indices[g]].
    assert (indices[:, indices].swapaxes(0, 1) == indices[group.table]).all()


@given(represented(), st.data())
def test_every_element_is_a_permutation_matrix(case, data):
    group, dimension, indices = case
    g = data.draw(st.integers(0, group.order - 1))
    matrix = permutation_matrices(indices[g : g + 1])[0]
    assert set(np.unique(matrix)) <= {0.0, 1.0}
    np.testing.assert_array_equal(matrix @ matrix.T, np.eye(dimension))


@given(represented(), st.data())
def test_basis_vectors_move_to_gh_and_the_rest_stays(case, data):
    """In each copy ρ(g) e_h = e_{gh}; the r = d − m|G| last coordinates are fixed."""
    group, dimension, indices = case
    n, copies = group.order, dimension // group.order
    g, h = (data.draw(st.integers(0, n - 1)) for _ in range(2))
    matrix = permutation_matrices(indices[g : g + 1])[0]
    for copy in range(copies):
        moved = matrix @ np.eye(dimension)[copy * n + h]
        assert moved.argmax() == copy * n + group.table[g, h]
    rest = slice(copies * n, dimension)
    np.testing.assert_array_equal(matrix[rest, rest], np.eye(dimension - copies * n))


@given(factors, factors, st.data())
def test_a_product_acts_by_kronecker_products(left, right, data):
    """R(g, h) = R(g) ⊗ R(h) of the factors' regular representations."""
    product = direct_product(left, right)
    g = data.draw(st.integers(0, left.order - 1))
    h = data.draw(st.integers(0, right.order - 1))
    each = [
        permutation_matrices(regular_representation(group, group.order))[element]
        for group, element in ((left, g), (right, h))
    ]
    whole = permutation_matrices(regular_representation(product, product.order))
    np.testing.assert_array_equal(whole[g * right.order + h], np.kron(*each))


@pytest.mark.parametrize(("name", "copies"), [("C4xC4", 4), ("D1xD1", 16), ("D4xD4", 1)])
def test_copies_in_the_published_latent(name, copies):
    """d = 66 (section 1): the orbits of coordinates are m copies and two fixed coordinates."""
    group = group_by_name(name)
    indices = regular_representation(group, 66)
    orbits = {frozenset(column) for column in indices.T.tolist()}
    assert sorted(map(len, orbits)) == [1, 1] + [group.order] * copies
    assert (indices[:, 64:] == [64, 65]).all()


@given(groups)
def test_a_latent_smaller_than_the_group_is_refused(group):
    message = f"latent of {group.order - 1} is smaller than the group {group.name} "
    with pytest.raises(ValueError, match=message):
        regular_representation(group, group.order - 1)


def _follows_the_samples(group, indices):
    """Whether ρ(g) E(p) = E(g·p) for the equivariant encoder E(p)[h] = φ(h⁻¹p).

    p are points of the plane, moved by the group's own matrices; φ is any function.
    """
    points = np.random.default_rng(1).normal(size=(5, 2))

    def encode(moved):
        preimages = np.einsum("hji,pj->phi", group.matrices, moved)  # h⁻¹ p, orthogonal
        return np.sin(preimages @ [1.3, -0.4]) + preimages[..., 0] * preimages[..., 1] ** 2

    return all(
        np.allclose(encode(points)[:, indices[g]], encode(points @ group.matrices[g].T), atol=1e-9)
        for g in range(group.order)
    )


@pytest.mark.parametrize("name", ["D3", "D4"])
def test_the_left_regular_representation_and_no_other_follows_the_samples(name):
    """On a non-abelian group the right regular one and inverted elements are seen to fail."""
    group = group_by_name(name)
    correct = regular_representation(group, group.order)
    right_regular = group.table.T  # [g, h] -> hg: a homomorphism too, but e_h goes to e_{hg⁻¹}
    inverted = correct[group.inverse]
    assert (right_regular[:, right_regular].swapaxes(0, 1) == right_regular[group.table]).all()
    assert _follows_the_samples(group, correct)
    assert not _follows_the_samples(group, right_regular)
    assert not _follows_the_samples(group, inverted)
