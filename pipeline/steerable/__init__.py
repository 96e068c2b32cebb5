"""Steerable convolutions: networks that commute with turns and reflections by construction."""

from equigrid.steerable.groups import SteeringGroup, rotations_of_space, steering_group
from equigrid.steerable.kernels import kernel_basis
from equigrid.steerable.layers import (
    AntialiasedPool,
    ComponentNorm,
    Disc,
    FieldNorm,
    FieldType,
    Gate,
    RegularReLU,
    SteerableConvolution,
    constant,
    gated_type,
)
from equigrid.steerable.partial import Likelihood, PartialConvolution, seen_elements
from equigrid.steerable.pathways import ResidualPathway, squares
from equigrid.steerable.relaxed import RelaxedGroupConvolution, RelaxedSteerableConvolution

__all__ = [
    "AntialiasedPool",
    "ComponentNorm",
    "Disc",
    "FieldNorm",
    "FieldType",
    "Gate",
    "Likelihood",
    "PartialConvolution",
    "RegularReLU",
    "RelaxedGroupConvolution",
    "RelaxedSteerableConvolution",
    "ResidualPathway",
    "SteerableConvolution",
    "SteeringGroup",
    "constant",
    "gated_type",
    "kernel_basis",
    "rotations_of_space",
    "seen_elements",
    "squares",
    "steering_group",
]
