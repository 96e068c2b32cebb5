"""Functions on the sphere: their harmonics, rotations, and products that rotations respect."""

from equigrid.spherical.harmonics import Grid
from equigrid.spherical.rotations import random_rotations, rotate

__all__ = ["Grid", "random_rotations", "rotate"]
