"""MNIST's digits projected onto the sphere."""

from equigrid.datasets.spherical_mnist.builder import SphericalMNIST, SphericalMNISTParameters

__all__ = ["SphericalMNIST", "SphericalMNISTParameters"]
