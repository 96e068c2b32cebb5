"""What a network is: the methods that training, objectives and metrics call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from torch import Tensor
from torch.nn import Parameter


@runtime_checkable
class Network(Protocol):
    """A torch module whose outputs are the head of a latent: f(x) = head(encode(x)).

    encode: inputs [b, channels, …] → latents [b, …]; head: latents → outputs [b, outputs].

    >>> import torch
    >>> class TwoLayers(torch.nn.Module):
    ...     def __init__(self, input_shape, outputs, *, hidden: int = 16):
    ...         super().__init__()
    ...         self.encoder = torch.nn.LazyLinear(hidden)
    ...         self.last = torch.nn.Linear(hidden, outputs)
    ...
    ...     def encode(self, x):
    ...         return self.encoder(x.flatten(1)).relu()
    ...
    ...     def head(self, z):
    ...         return self.last(z)
    ...
    ...     def forward(self, x):
    ...         return self.head(self.encode(x))
    >>> TwoLayers((1, 8, 8), 10)(torch.zeros(4, 1, 8, 8)).shape
    torch.Size([4, 10])

    It is constructed with the shape of an input, (channels, …), and the number of outputs, and has
    its own settings as keyword-only parameters. A network may have besides, told by their names:

    latent_action(elements, latents) -> latents: how the group acts on its latent, [b] and
        [b, …]; by default the regular representation is measured.
    penalties() -> {name: (weight, tensor)}: added to the loss, and logged.
    watch(epoch): called after each epoch of training; what it keeps in buffers is checkpointed.
    artifacts() -> {name: bytes}: files that are kept with the run.
    drawings(runs): a static method that adds figures to the report.
    embed(x) -> Tensor: what of the latent tells inputs apart, where that is not all of it.

    And, from outside the package, as attributes of the class: latent_maps (its latent is [b,
    channels, rows, columns]), by_group (it takes `group`, a FiniteGroup), invariant (by
    construction), task, axes, trivial. What it does not say is as of the packaged class that it
    inherits from.
    """

    def encode(self, x: Tensor, /) -> Tensor:
        """Inputs [b, channels, …] to latents: [b, d], or maps [b, channels, rows, columns]."""

    def head(self, z: Tensor, /) -> Tensor:
        """Latents to outputs: [b, classes], or whatever the task's targets are."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """head(encode(x))."""

    def parameters(self) -> Iterator[Parameter]:
        """Of a torch module, as are the following."""

    def train(self, mode: bool = True) -> Network: ...

    def eval(self) -> Network: ...

    def state_dict(self) -> dict[str, Any]: ...


class Variational(Network, Protocol):
    """One whose latent is drawn in training."""

    def distribution(self, x: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance [b, d] of what is drawn, and what of the latent is not, [b, k]."""
