"""The action that latents carry: known ones are found, and where there is none that is said."""

from __future__ import annotations

import numpy as np
import pytest

from equigrid.symmetry import group_by_name, permutation_matrices, regular_representation
from equigrid.symmetry.carried import Carried, Real, carried_action, split_orbits

#: Of the latents; inputs are 40 times as many.
DIMENSION = 20


def latents(
    name: str, regular: int, trivial: int, noise: float = 0.02, factor: float = 1.0
) -> Real:
    """[n, N, d] of copies of the regular and of the trivial one, mixed into d and shifted.

    factor: of the trivial ones, how large they are.
    """
    group, stream = group_by_name(name), np.random.default_rng(1)
    n, count = group.order, 40 * DIMENSION
    parts = [
        np.einsum("gij,nj->gni", permutation_matrices(regular_representation(group, n)),
                  stream.normal(size=(count, n)))
        for _ in range(regular)
    ]  # fmt: skip
    still = factor * stream.normal(size=(count, trivial))
    parts.append(np.broadcast_to(still, (n, count, trivial)))
    inner = np.concatenate(parts, 2)
    mixed: Real = inner @ stream.normal(size=(inner.shape[2], DIMENSION)) + 3
    return mixed + noise * stream.normal(size=mixed.shape)


def found(name: str, z: Real) -> Carried:
    return carried_action(group_by_name(name), *split_orbits(z))


@pytest.mark.parametrize("name", ["C2", "C4", "D3", "D1xD1", "C2xC2"])
@pytest.mark.parametrize(("regular", "trivial"), [(1, 0), (2, 0), (0, 3), (1, 2)])
def test_a_known_action_is_found(name: str, regular: int, trivial: int) -> None:
    group = group_by_name(name)
    carried = found(name, latents(name, regular, trivial))
    assert carried.kept == regular * group.order + trivial
    expected = np.array([it.dimension * regular for it in irreducible(name)], float)
    expected[0] += trivial
    np.testing.assert_allclose(carried.multiplicities, expected, atol=1e-6)
    rho = carried.representation
    assert rho is not None
    products = np.einsum("gij,hjk->ghik", rho, rho)
    np.testing.assert_allclose(products, rho[group.table], atol=1e-6)
    assert carried.r_squared_representation > 0.9
    assert carried.defect < 1e-3


def irreducible(name: str) -> tuple:  # type: ignore[type-arg]
    from equigrid.symmetry.characters import irreducibles

    return irreducibles(group_by_name(name))


@pytest.mark.parametrize("name", ["C2", "C4", "D3"])
def test_independent_latents_carry_none_although_their_characters_are_regular(name: str) -> None:
    group, stream = group_by_name(name), np.random.default_rng(0)
    z = stream.normal(size=(group.order, 40 * DIMENSION, DIMENSION))
    carried = found(name, z)
    assert carried.representation is None
    assert carried.kept == 0
    assert not carried.multiplicities.any()
    assert "no direction" in carried.why
    assert abs(carried.r_squared) < 0.05


def test_shuffled_orbits_carry_none() -> None:
    z, stream = latents("C4", 2, 0), np.random.default_rng(0)
    shuffled = np.stack([part[stream.permutation(len(part))] for part in z])
    assert found("C4", z).kept == 8
    assert found("C4", shuffled).representation is None


def test_latents_that_do_not_vary_carry_none() -> None:
    assert "do not vary" in found("C2", np.ones((2, 80, 4))).why


def test_an_action_on_few_of_many_directions_is_found_there() -> None:
    """Noise as large as a third of the signal, in all directions."""
    carried = found("C4", latents("C4", 1, 0, noise=0.5))
    assert carried.rank == DIMENSION
    assert carried.kept == 4
    np.testing.assert_allclose(carried.multiplicities, 1, atol=1e-6)


def test_an_action_from_the_right_is_the_inverse_one() -> None:
    """Of D3, with x moved as by h first and then by g where the table says hg."""
    group, stream = group_by_name("D3"), np.random.default_rng(2)
    assert group.matrices is not None
    plane = np.einsum("gij,nj->gni", group.matrices, stream.normal(size=(400, 2)))
    right = plane[group.inverse] @ stream.normal(size=(2, 5))
    noise = 0.01 * stream.normal(size=right.shape)
    carried = carried_action(group, *split_orbits(right + noise), table=group.table.T)
    np.testing.assert_allclose(carried.multiplicities, [0, 0, 1], atol=1e-6)
    assert carried.r_squared_representation > 0.9
