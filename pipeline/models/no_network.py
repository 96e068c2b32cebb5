"""No network at all: for what is learned without one."""

from __future__ import annotations

from torch import Tensor, nn


class NoNetwork(nn.Module):
    """Has a latent of a size, and nothing that would depend on its input."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, *, latent: int = 64) -> None:
        super().__init__()
        self.latent, self.outputs = latent, outputs

    def encode(self, x: Tensor) -> Tensor:
        """[batch, …] → zeros [batch, latent]."""
        return x.new_zeros(len(x), self.latent)

    def head(self, z: Tensor) -> Tensor:
        """[batch, latent] → zeros [batch, outputs]."""
        return z.new_zeros(len(z), self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, …] → zeros [batch, outputs]."""
        return self.head(self.encode(x))
