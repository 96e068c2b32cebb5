"""Latents of a network: their shape, and those of whole orbits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.datasets.resident import Dataset


def latent_shape(model: Any, dataset: Dataset) -> tuple[int, ...]:
    """[d], or [channels, rows, columns] of latent maps."""
    device = next((it.device for it in model.parameters()), torch.device("cpu"))
    sample = dataset.plain("val", torch.zeros(1, dtype=torch.int64, device=device))
    with torch.inference_mode():
        return tuple(model.eval().encode(sample).shape[1:])


def embedding(model: Any, x: Tensor) -> Tensor:
    """What of a model's latent tells inputs apart, [b, …]: where it says so, not all of it."""
    found: Tensor = model.embed(x) if hasattr(model, "embed") else model.encode(x)
    return found


def orbit_latents(
    model: Any, dataset: Dataset, split: str, count: int, device: torch.device | str
) -> NDArray[np.float64]:
    """[n, N, d]: latents of g·x for every element g and the first N ≤ count samples of a split.

    Of a sample's artefacts those that the split keeps. Latent maps are averaged over the grid.
    """
    source, views = dataset.sources[split], dataset.views.get(split)
    rows = torch.arange(min(count, dataset.size(source)), device=device)
    found = []
    with torch.inference_mode():
        for element in range(dataset.group.order):
            parts = []
            for part in torch.split(rows, len(dataset.chunks(source, device)[0])):
                draws = torch.zeros_like(part) if views is None else views.draws[part]
                x = dataset.view(source, part, torch.full_like(part, element), draws)
                z = model.encode(x)
                parts.append((z.flatten(2).mean(2) if z.ndim > 2 else z).double().cpu())
            found.append(torch.cat(parts))
    return torch.stack(found).numpy()
