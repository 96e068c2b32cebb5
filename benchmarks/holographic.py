"""A training step of the holographic autoencoder, and what its products cost.

Table H's network with 16 latents (L = 10), batches of 100 random inputs, forth, back and Adam;
beside it the same network whose products are a plain loop over the paths, one contraction each,
and the bare matrix products of all paths (the floor: forward once, backward once). They take turns,
step by step, in a process that keeps its memory as a worker's does. Couplings: all of them
calculated anew, and read from the user's cache.

    python benchmarks/holographic.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import torch
from common import begin, side_by_side, timed, wall
from torch import Tensor

from equigrid.models.holographic import HolographicAutoencoder
from equigrid.spherical.couplings import coupling, vanishes
from equigrid.spherical.layers import Product, Signal
from equigrid.training.memory import keep_freed

BATCH, DEGREE = 100, 10
#: Seconds a step.
GOAL = 0.5


class Loop(Product):
    """Path by path."""

    def forward(self, signal: Signal) -> Signal:
        found: list[Tensor] = []
        for degree, paths in enumerate(self.paths):
            parts = []
            for a, b in paths:
                if not vanishes((a, b), degree):
                    symbol = getattr(self, f"{a}_{b}_{degree}")
                    parts.append(torch.einsum("cib,cjb,ijk->ckb", signal[a], signal[b], symbol))
            found.append(torch.cat(parts))
        return found


def network(loop: bool) -> HolographicAutoencoder:
    torch.manual_seed(0)
    model = HolographicAutoencoder((1, (DEGREE + 1) ** 2), 1)
    for module in model.modules():
        if loop and isinstance(module, Product):
            module.__class__ = Loop
            for degree, paths in enumerate(module.paths):
                for a, b in paths:
                    symbol = torch.from_numpy(coupling(a, b, degree)).float()
                    module.register_buffer(f"{a}_{b}_{degree}", symbol, persistent=False)
    return model


def step_of(model: HolographicAutoencoder) -> Any:
    optimiser = torch.optim.Adam(model.parameters())
    x = torch.randn(BATCH, 1, (DEGREE + 1) ** 2, generator=torch.Generator().manual_seed(1))

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = (model(x) - x).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return float(loss.detach())

    return step


def bare(model: HolographicAutoencoder) -> Any:
    """The matrix products with the couplings alone, forth and back."""
    work = []
    for block in (*model.encoder, *model.decoder):
        rows = BATCH * len(block.normalise.bias)
        for n in range(len(block.product.targets)):
            matrix = getattr(block.product, f"coupling_{n}")
            work.append(
                (torch.randn(rows, len(matrix)), torch.randn(rows, matrix.shape[1]), matrix)
            )

    def step() -> None:
        for outer, gradient, matrix in work:
            outer @ matrix
            gradient @ matrix.T

    return step


def all_couplings() -> None:
    """Of the network's products, read or calculated."""
    coupling.cache_clear()
    network(False)


def main() -> None:
    report, options = begin(__doc__, rounds=5)
    keep_freed()
    models = {"ours": network(False), "loop": network(True)}
    steps = {name: step_of(model) for name, model in models.items()}
    losses = [step() for step in steps.values()]
    report.show("first loss, ours; of the loop", losses[0], f"{losses[1]:.6g}", 1)
    n = options.rounds
    found = side_by_side(n, **steps, bare=bare(models["ours"]))
    report.show("a step", wall(found["ours"]), "s", n, GOAL)
    report.show("  path by path", wall(found["loop"]), "s", n)
    report.show("  the couplings' matrix products alone", wall(found["bare"]), "s", n)
    cached = timed(all_couplings).wall
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        report.show("couplings: calculated", timed(all_couplings).wall, "s", 1)
    report.show("couplings: read from the cache", cached, "s", 1)
    report.close()


if __name__ == "__main__":
    main()
