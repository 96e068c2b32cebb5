"""Finite groups, their regular representation and their actions on grids."""

from equigrid.symmetry.actions import (
    grid_action,
    is_exact_on_grids,
    plane_group,
    vector_action,
)
from equigrid.symmetry.groups import (
    GROUP_NAMES,
    FiniteGroup,
    cyclic,
    dihedral,
    direct_product,
    group_by_name,
    octahedral,
)
from equigrid.symmetry.representations import (
    permutation_matrices,
    regular_representation,
    scrambled_elements,
)

__all__ = [
    "GROUP_NAMES",
    "FiniteGroup",
    "cyclic",
    "dihedral",
    "direct_product",
    "grid_action",
    "group_by_name",
    "is_exact_on_grids",
    "octahedral",
    "permutation_matrices",
    "plane_group",
    "regular_representation",
    "scrambled_elements",
    "vector_action",
]
