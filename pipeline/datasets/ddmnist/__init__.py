"""Double digits (DDMNIST), the data of table 4."""

from equigrid.datasets.ddmnist.builder import DDMNIST

__all__ = ["DDMNIST"]
