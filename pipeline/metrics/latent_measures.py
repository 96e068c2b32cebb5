"""How a group moves the latents of an encoder: with its action, against it, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.metrics.latent_gap import LatentGap, Spread, relative

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
        self._gap, self._unmoved, self._fixed = LatentGap(), LatentGap(), Spread()
        self._sum: Tensor | None = None
        self._pairs, self._counts = 0, torch.zeros(order, dtype=torch.float64)
        self._mismatch: Tensor | None = None
        self._projector: Tensor | None = None

    def add(self, elements: Tensor, z1: Tensor, z2: Tensor) -> None:
        """[b] elements g, [b, …] latents of x and of g·x."""
        moved = self.action(elements, z1)  # in the latents' own precision, as elsewhere
        self._gap.add(moved, z2)
        self._unmoved.add(z1, z2)
        self._fixed.add(self._fixed_part(z2))
        total = z1.double().sum(0) + z2.double().sum(0)
        mismatch = moved.double() - z2.double()
        if self._sum is None or self._mismatch is None:
            self._sum = torch.zeros_like(total)
            self._mismatch = total.new_zeros((self.order, *total.shape))
            self._counts = self._counts.to(total.device)
            self._dtype = z1.dtype
        self._sum += total
        self._pairs += len(z1)
        self._mismatch.index_add_(0, elements, mismatch)
        self._counts += torch.bincount(elements, minlength=self.order)

    def _each(self, latents: Tensor) -> Tensor:
        """Σ over the group of ρ(h) z."""
        found = torch.zeros_like(latents, dtype=torch.float64)
        for h in range(self.order):
            elements = torch.full((len(latents),), h, device=latents.device)
            found += self.action(elements, latents)
        return found

    def _fixed_part(self, latents: Tensor) -> Tensor:
        """The mean of ρ(h) z over the group: what of z every ρ(h) fixes."""
        if latents.ndim > 2:
            return self._each(latents) / self.order
        if self._projector is None:
            one = torch.eye(latents.shape[1], dtype=latents.dtype, device=latents.device)
            self._projector = self._each(one) / self.order
        return latents.double() @ self._projector

    def compute(self) -> dict[str, float]:
        """Raises AssertionError before the first `add`."""
        assert self._sum is not None
        assert self._mismatch is not None
        mean = (self._sum / (2 * self._pairs)).to(self._dtype)[None]
        centred = self._gap.mismatch
        # Σ‖d − (ρ(g)m − m)‖² of the mismatches d and the mean m, from the sum of d for each g.
        for g in range(self.order):
            element = torch.full((1,), g, device=mean.device)
            shift = (self.action(element, mean) - mean)[0].double()
            centred += float(
                self._counts[g] * shift.square().sum() - 2 * (self._mismatch[g] * shift).sum()
            )
        return {
            "equivariance_loss": self._gap.mean_square,
            "equivariance_error": self._gap.relative,
            "centred_error": relative(max(0.0, centred), self._gap.spread),
            "invariance_error": self._unmoved.relative,
            "fixed_share": relative(self._fixed.total, self._gap.spread),
        }
