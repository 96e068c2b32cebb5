"""How a group moves the latents of an encoder: with its action, against it, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equigrid.metrics.latent_gap import Spread, relative

#: (elements [b], latents [b, …]) → latents [b, …].
Action = Callable[[Tensor, Tensor], Tensor]


class LatentMeasures:
    """Five measures of pairs z1 = E(x), z2 = E(g·x) over batches, in double precision.

    equivariance_loss: the mean of (ρ(g) z1 − z2)² over pairs and entries.
    equivariance_error: Σ‖ρ(g) z1 − z2‖² / Σ‖z2 − mean z2‖².
    centred_error: the same with the mean latent of all z1 and z2 taken off both first; what λ does
    to means alone, which a batch normalisation behind the latent takes off again, is not in it.
    invariance_error: the same with the identity for ρ: how far the group moves latents at all.
    fixed_share: of the variance of z2 what lies in the subspace that every ρ(g) fixes (0 to 1).
    Near 1 the latent is invariant, and satisfies any permutation action, right or wrong.
    """

    def __init__(self, action: Action, order: int) -> None:
        """action: of a group of `order` elements, linear in the latents."""
        self.action, self.order = action, order
        self._spread, self._fixed = Spread(), Spread()
        self._numbers = self._pairs = 0
        #: Σ‖ρ(g) z1 − z2‖² and Σ‖z1 − z2‖².
        self._moved = self._unmoved = 0.0
        #: By element g, how many pairs there were, and Σ (ρ(g) z1 − z2).
        self._counts = torch.zeros(order, dtype=torch.float64)
        self._mismatch = torch.zeros(())
        self._sum = torch.zeros(())
        self._projector = torch.zeros(())

    def add(self, elements: Tensor, z1: Tensor, z2: Tensor) -> None:
        """[b] elements g, [b, …] latents of x and of g·x."""
        if not self._pairs:
            self._start(z2)
        moved = self.action(elements, z1)  # in the latents' own precision, as elsewhere
        self._fixed.add(self._fixed_part(z2))
        moved, z1, z2 = moved.double(), z1.double(), z2.double()
        mismatch = moved - z2
        self._moved += float(mismatch.square().sum())
        self._unmoved += float((z1 - z2).square().sum())
        self._spread.add(z2)
        self._sum += z1.sum(0) + z2.sum(0)
        self._mismatch.index_add_(0, elements, mismatch)
        self._counts += torch.bincount(elements, minlength=self.order)
        self._pairs, self._numbers = self._pairs + len(z2), self._numbers + z2.numel()

    def _start(self, latents: Tensor) -> None:
        """Make room for sums over latents of this shape."""
        self._dtype = latents.dtype
        shape, device = latents.shape[1:], latents.device
        self._counts = self._counts.to(device)
        self._sum = torch.zeros(shape, dtype=torch.float64, device=device)
        self._mismatch = self._sum.new_zeros((self.order, *shape))
        if latents.ndim == 2:
            one = torch.eye(shape[0], dtype=latents.dtype, device=device)
            self._projector = self._group_mean(one)

    def _group_mean(self, latents: Tensor) -> Tensor:
        """The mean of ρ(h) z over the group: what of z every ρ(h) fixes."""
        found = torch.zeros_like(latents)
        for h in range(self.order):
            elements = torch.full((len(latents),), h, device=latents.device)
            found += self.action(elements, latents)
        return found.double() / self.order

    def _fixed_part(self, latents: Tensor) -> Tensor:
        if latents.ndim > 2:  # a matrix would be too large
            return self._group_mean(latents)
        return latents.double() @ self._projector

    def compute(self) -> dict[str, float]:
        """The measures of all pairs so far: at least one."""
        mean = (self._sum / (2 * self._pairs)).to(self._dtype)[None]
        centred = self._moved
        # Σ‖d − (ρ(g)m − m)‖² of the mismatches d and the mean m, from the sum of d for each g.
        for g in range(self.order):
            element = torch.full((1,), g, device=mean.device)
            shift = (self.action(element, mean) - mean)[0].double()
            centred += float(
                self._counts[g] * shift.square().sum() - 2 * (self._mismatch[g] * shift).sum()
            )
        spread = self._spread.total
        return {
            "equivariance_loss": self._moved / self._numbers,
            "equivariance_error": relative(self._moved, spread),
            "centred_error": relative(max(0.0, centred), spread),
            "invariance_error": relative(self._unmoved, spread),
            "fixed_share": relative(self._fixed.total, spread),
        }
