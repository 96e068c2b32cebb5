"""Single digits under a group of the plane, turned at random before (table 2)."""

from equigrid.datasets.mnist.builder import MNIST

__all__ = ["MNIST"]
