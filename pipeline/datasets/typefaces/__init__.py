"""Digits in two typefaces, which C2 exchanges (the paper's TMNIST experiment)."""

from pipeline.datasets.typefaces.builder import Typefaces

__all__ = ["Typefaces"]
