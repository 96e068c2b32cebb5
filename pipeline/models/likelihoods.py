"""What networks share that learn how equivariant they are: penalties, and what they learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from equigrid.steerable import Likelihood, seen_elements

#: Epochs of which a network remembers its likelihoods; of more every second, every fourth, …
KEPT = 256
FILE = "likelihood.safetensors"


class LearnsLikelihoods(nn.Module):
    """A network with `likelihoods`, by layer from the input on, and the `weights` of penalties.

    Its artifact: likelihoods by epoch to the best one, [epochs, layers, elements], with the
    elements' angles in degrees and whether they mirror.
    """

    title: ClassVar[str] = "How equivariant the layers became"
    likelihoods: nn.ModuleList
    weights: tuple[float, float, float]
    epochs: Tensor
    logits: Tensor

    def remember(self) -> None:
        """Make room; called when the likelihoods are there."""
        first = self._each()[0].logits
        room = torch.zeros(KEPT, len(self.likelihoods), len(first))
        self.register_buffer("logits", room)
        self.register_buffer("epochs", torch.full((KEPT,), -1))

    def _each(self) -> list[Likelihood]:
        return cast(list[Likelihood], list(self.likelihoods))

    def penalties(self) -> dict[str, tuple[float, Tensor]]:
        """Of Veefkind and Cesa: each layer's likeliest element is e, none is far from the last.

        Σ misalignment, Σ_l KL(λ_l ‖ λ_{l−1}) / layers with λ_{l−1} held, KL(λ_1 ‖ uniform) /
        layers.
        """
        likelihoods, n = self._each(), len(self.likelihoods)
        alignment, change, uniform = self.weights
        aligned = torch.stack([it.misalignment() for it in likelihoods]).sum()
        pairs = zip(likelihoods[1:], likelihoods, strict=False)
        changes = [here.divergence(before) for here, before in pairs]
        changed = torch.stack(changes).sum() if changes else torch.zeros_like(aligned)
        return {
            "misalignment": (alignment, aligned),
            "change_of_likelihood": (change / n, changed),
            "first_likelihood": (uniform / n, likelihoods[0].divergence(None)),
        }

    @torch.no_grad()
    def watch(self, epoch: int) -> None:
        """Called after each epoch of training."""
        used = int((self.epochs >= 0).sum())
        if used == KEPT:
            used = KEPT // 2
            for kept in (self.epochs, self.logits):
                kept[:used] = kept[1::2].clone()
            self.epochs[used:] = -1
        apart = 1 if used < 2 else int(self.epochs[1] - self.epochs[0])
        if used == 0 or epoch - int(self.epochs[used - 1]) >= apart:
            self.epochs[used] = epoch
            self.logits[used] = torch.stack([it.logits for it in self._each()])

    @torch.no_grad()
    def artifacts(self) -> dict[str, bytes]:
        first = self._each()[0]
        elements, angles, mirrored = seen_elements(first.group)
        used = int((self.epochs >= 0).sum())
        now = torch.stack([it.logits for it in self._each()])
        rows = self.logits[:used] if used else now[None]
        values = [
            [first.at_elements(elements, logits) for logits in layers] for layers in rows.cpu()
        ]
        found = {
            "epochs": self.epochs[:used].cpu() if used else torch.zeros(1, dtype=torch.int64),
            "likelihoods": torch.tensor(np.array(values), dtype=torch.float32),
            "degrees": torch.tensor(angles, dtype=torch.float32),
            "mirrored": torch.tensor(mirrored, dtype=torch.int64),
        }
        return {FILE: safetensors.torch.save({n: it.contiguous() for n, it in found.items()})}

    @staticmethod
    def drawings(runs: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
        """For the report, of the first run of each dataset: likelihood by layer and epoch."""
        shown = set()
        for run in runs:
            data, trial = run.artifact(FILE), run.record.trial
            if data is None or trial.dataset in shown:
                continue
            shown.add(trial.dataset)
            found = {name: it.numpy() for name, it in safetensors.torch.load(data).items()}
            yield (
                f"likelihood by layer, {trial.dataset}, seed {trial.seed}", _heat_maps(found),
                "Of each layer over the group by epoch, to the best one; 1 everywhere is fully "
                "equivariant, all at 0° not at all.",
            )  # fmt: skip


def _heat_maps(found: dict[str, Any]) -> Any:
    """A panel for each layer: epochs to the right, elements down."""
    # Takes half a second to import, and is needed for a report alone.
    from matplotlib.figure import Figure

    values = found["likelihoods"]
    layers = values.shape[1]
    figure = Figure(figsize=(7.2, 1.2 + 0.16 * values.shape[2]), layout="constrained")
    axes = figure.subplots(1, layers, sharey=True, squeeze=False)[0]
    labels = [
        f"{angle:g}°{' mirrored' if mirrored else ''}"
        for angle, mirrored in zip(found["degrees"], found["mirrored"], strict=True)
    ]
    most = max(2.0, float(values.max()))
    for layer, place in enumerate(axes):
        image = place.imshow(
            values[:, layer].T, aspect="auto", vmin=0, vmax=most, cmap="viridis",
            interpolation="nearest",
            extent=(found["epochs"][0] - 0.5, found["epochs"][-1] + 0.5, len(labels) - 0.5, -0.5),
        )  # fmt: skip
        place.set(title=f"layer {layer + 1}", xlabel="epoch")
        place.set_yticks(range(len(labels)), labels, fontsize=7)
    figure.colorbar(image, ax=list(axes), label="likelihood")
    return figure
