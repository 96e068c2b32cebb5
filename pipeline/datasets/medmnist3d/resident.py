"""Volumes on a device: which way rotations compose, and what their labels mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from equigrid.datasets.images.resident import ResidentImages
from equigrid.datasets.medmnist3d.builder import MedMNIST3D
from equigrid.datasets.store import Arrays


class ResidentVolumes(ResidentImages):
    """Labels are named as medmnist names them."""

    def __init__(self, builder: MedMNIST3D, arrays: Arrays, device: str) -> None:
        super().__init__(builder, arrays, device)
        self._names = builder.info["label"]
        self._released = builder.parameters.action == "released"

    @property
    def composition(self) -> NDArray[np.int64]:
        """The released action is a right one: h first, then g is the element hg."""
        table = self.group.table
        return table.T if self._released else table

    def label(self, target: Tensor) -> str:
        return str(self._names[str(int(target))])
