"""Labelled images or volumes of the user's own, from one file of arrays."""

from equigrid.datasets.arrays.builder import LabelledArrays

__all__ = ["LabelledArrays"]
