"""Digits in two typefaces, which C2 exchanges (the paper's TMNIST experiment)."""

from equigrid.datasets.typefaces.builder import Typefaces

__all__ = ["Typefaces"]
