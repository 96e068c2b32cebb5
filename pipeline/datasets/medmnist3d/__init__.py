"""The 3D sets of MedMNIST v3, the data of table 5."""

from equigrid.datasets.medmnist3d.builder import MedMNIST3D

__all__ = ["MedMNIST3D"]
