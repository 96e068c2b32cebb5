"""CIFAR-10 under quarter turns (table 3)."""

from equigrid.datasets.cifar10.builder import CIFAR10

__all__ = ["CIFAR10"]
