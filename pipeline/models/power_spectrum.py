"""The power spectrum: what a spherical image has that no rotation changes, without learning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equigrid.models.trivial import TargetSource
from equigrid.spherical.harmonics import power_spectrum

#: Samples that are read at once.
TOGETHER = 1000


class PowerSpectrum(nn.Module):
    """Of a spherical image the mean square of each degree's coefficients, which nothing turns.

    components: so many principal components of the training split's, None for the spectrum itself.
    What it reconstructs is the training mean: no more can be known of a spectrum alone.
    """

    def __init__(self, dataset: TargetSource, *, components: int | None = None) -> None:
        super().__init__()
        size = dataset.size("train")
        parts = torch.split(torch.arange(size), TOGETHER)
        inputs = [dataset.targets("train", part) for part in parts]
        total = torch.stack([it.sum(0) for it in inputs]).sum(0)
        self.register_buffer("reconstruction", total / size)
        self.directions: Tensor | None = None
        if components is not None:
            spectra = torch.cat([self._spectrum(it) for it in inputs]).double()
            if components > spectra.shape[1]:
                raise ValueError(f"{components} components of a spectrum of {spectra.shape[1]}")
            _, _, rows = torch.linalg.svd(spectra - spectra.mean(0), full_matrices=False)
            self.directions = rows[:components].T.to(inputs[0])

    def _spectrum(self, x: Tensor) -> Tensor:
        return power_spectrum(x).flatten(1)

    def embed(self, x: Tensor) -> Tensor:
        """[batch, channels, (L + 1)²] → [batch, channels · (L + 1)], or the components of it."""
        found = self._spectrum(x)
        return found if self.directions is None else found @ self.directions

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, (L + 1)²] → the training mean, as often."""
        assert isinstance(self.reconstruction, Tensor)
        return self.reconstruction.expand(len(x), *self.reconstruction.shape)
