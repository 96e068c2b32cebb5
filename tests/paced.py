"""The small network, as slow as its host is told to be: faults have something to hit."""

from __future__ import annotations

import os
import time

from torch import Tensor

from equigrid.models.small_cnn import SmallCNN


class Paced(SmallCNN):
    def encode(self, x: Tensor) -> Tensor:
        """[batch, *input_shape] → [batch, latent]."""
        if self.training:
            time.sleep(float(os.environ.get("PACE", "0")))
        return super().encode(x)
