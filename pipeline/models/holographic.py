"""The holographic autoencoder: a spherical image as invariant numbers and a frame (H-(V)AE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from equigrid.parameters import Later
from equigrid.spherical.harmonics import degree_of
from equigrid.spherical.layers import Block, Signal, frame_of, joined, split

#: Numbers of a frame.
FRAME = 9


class HolographicAutoencoder(nn.Module):
    """Blocks of falling degree to z and a frame; and back by their mirror image.

    latent: of z, which no rotation changes; the frame turns with the input. degrees, channels: of
    what each block of the encoder gives. affine: with all the numbers that normalisations learn in
    the authors' code (`Block`). variational: whether z has a variance. A latent [batch, latent + 9]
    is z and the frame's axes, one after the other.

    Of table H are those with `affine`: 226 419 parameters with 16 latents, 438 339 with 120, and
    variational 226 691 and 452 859.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        *,
        latent: int = 16,
        degrees: Sequence[int] = (10, 10, 8, 4, 2, 1),
        channels: list[int] = [16] * 6,
        affine: Annotated[bool, Later()] = False,
        variational: Annotated[bool, Later()] = True,
    ) -> None:
        """input_shape: (channels, (L + 1)²), L at most twice the first degree; else ValueError."""
        super().__init__()
        top = degree_of(input_shape[-1])
        if not degrees[0] <= top <= 2 * degrees[0]:
            raise ValueError(
                f"inputs of degree {top}, the first block's is {degrees[0]}; allowed: "
                f"{(top + 1) // 2} to {top}"
            )
        self.latent = latent
        highest = (top, *degrees)
        widths = (input_shape[0], *channels)
        steps = list(zip(highest, highest[1:], widths, widths[1:], strict=False))
        self.encoder = nn.Sequential(*(Block(*step, affine=affine) for step in steps))
        self.mean = nn.Linear(channels[-1], latent)
        self.log_variance = nn.Linear(channels[-1], latent) if variational else None
        self.vectors = nn.Linear(channels[-1], 2, bias=False)
        self.invariants = nn.Linear(latent, channels[-1])
        self.axes = nn.Linear(3, channels[-1], bias=False)
        mirrored = [(after, before, out, into) for before, after, into, out in reversed(steps)]
        self.decoder = nn.Sequential(*(Block(*step, affine=affine) for step in mirrored))

    def distribution(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """[batch, channels, (L + 1)²] → mean and log-variance of z [batch, latent], and the frame.

        The log-variance: None of a model that is not variational. The frame [batch, 9]: three
        orthonormal vectors, right-handed.
        """
        with torch.autocast(x.device.type, enabled=False):
            signal: Signal = self.encoder(split(x.float() if x.dtype == torch.bfloat16 else x))
            invariant = signal[0][:, 0].T
            vectors = torch.einsum("oc,cmb->omb", self.vectors.weight, signal[1])
            frame = frame_of(vectors).flatten(1)
            variance = None if self.log_variance is None else self.log_variance(invariant)
            return self.mean(invariant), variance, frame

    def encode(self, x: Tensor) -> Tensor:
        """[batch, channels, (L + 1)²] → [batch, latent + 9]: z's mean and the frame."""
        mean, _, frame = self.distribution(x)
        return torch.cat([mean, frame], 1)

    def embed(self, x: Tensor) -> Tensor:
        """[batch, channels, (L + 1)²] → z's mean [batch, latent], which no rotation changes."""
        return self.distribution(x)[0]

    def in_frame_of(self, latent: Tensor, z: Tensor) -> Tensor:
        """[1, latent + 9] and [batch, latent] → latents with these z, all in the first's frame."""
        return torch.cat([z, latent[:, -FRAME:].expand(len(z), -1)], 1)

    def head(self, latent: Tensor) -> Tensor:
        """[batch, latent + 9] → coefficients [batch, channels, (L + 1)²]."""
        with torch.autocast(latent.device.type, enabled=False):
            z, frame = torch.split(latent, [self.latent, FRAME], 1)
            invariant = self.invariants(z).T.contiguous()[:, None]
            axes = torch.einsum("cv,bvm->cmb", self.axes.weight, frame.view(-1, 3, 3)).contiguous()
            return joined(self.decoder([invariant, axes]))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, (L + 1)²] → the same, by z's mean."""
        return self.head(self.encode(x))
