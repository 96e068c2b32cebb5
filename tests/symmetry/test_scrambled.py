"""A scrambled action is a permutation of the elements, the same everywhere, and no action."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from equigrid.lookup import objective_entry
from equigrid.symmetry import (
    group_by_name,
    permutation_matrices,
    regular_representation,
    scrambled_elements,
)

NAMES = ["C3", "C4", "C6", "D2", "D3", "D4", "D6", "octahedral", "D1xD1", "C4xC4", "D1xC3"]


@pytest.mark.parametrize("name", NAMES)
def test_a_scrambled_action_is_no_homomorphism(name):
    group = group_by_name(name)
    elements = scrambled_elements(group)
    assert sorted(elements) == list(range(group.order))
    assert elements[0] != 0
    matrices = permutation_matrices(regular_representation(group, group.order)[elements])
    products = np.einsum("gij,hjk->ghik", matrices, matrices)
    assert (products != matrices[group.table]).any()


def test_where_there_is_one_it_is_none_put_right_at_the_identity_either():
    """g ↦ π(e)⁻¹π(g) is a homomorphism for every π of C3 and of D1×D1, and here of no other."""
    homomorphisms = set()
    for name in NAMES:
        group = group_by_name(name)
        elements = scrambled_elements(group)
        right = group.table[group.inverse[elements[0]], elements]
        if (right[group.table] == group.table[right[:, None], right]).all():
            homomorphisms.add(name)
    assert homomorphisms == {"C3", "D1xD1", "D2"}  # D2 and D1×D1 are the same group


def test_two_elements_cannot_be_scrambled():
    for name in ("C1", "C2", "D1"):
        for refused in ("regular_representation", "autoregressive_regular_representation"):
            check = objective_entry(refused).check
            check({"action": "identity"}, group_by_name(name))
            with pytest.raises(ValueError, match="too few to scramble; allowed: at least 3"):
                check({"action": "scrambled"}, group_by_name(name))


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("C4", "dec4a4e67a8f"), ("D1xD1", "6bea2dbe6c90"), ("C4xC4", "5e14b5feac0c"),
     ("D4xD4", "9c3577b2c182"), ("octahedral", "2202b1275260")],
)  # fmt: skip
def test_the_same_permutation_everywhere(name, beginning):
    """A key says `scrambled`, not which permutation: another one would be another training."""
    elements = scrambled_elements(group_by_name(name)).astype("<i8")
    assert hashlib.sha256(elements.tobytes()).hexdigest().startswith(beginning)
