"""Latents of a network: their shape, and those of whole orbits."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.symmetry import FiniteGroup, grid_action


def latent_shape(model: Network, dataset: Dataset) -> tuple[int, ...]:
    """[d], or [channels, rows, columns] of latent maps."""
    device = next((it.device for it in model.parameters()), torch.device("cpu"))
    sample = dataset.plain("val", torch.zeros(1, dtype=torch.int64, device=device))
    with torch.inference_mode():
        return tuple(model.eval().encode(sample).shape[1:])


def embedding(model: Network, x: Tensor) -> Tensor:
    """What of a model's latent tells inputs apart, [b, …]: where it says so, not all of it."""
    found: Tensor = model.embed(x) if hasattr(model, "embed") else model.encode(x)
    return found


def points_of_an_orbit(group: FiniteGroup, grid: tuple[int, ...]) -> list[int]:
    """Numbers of |G| points of a flattened grid that the group takes to each other.

    Of the orbits with a point for each element the one nearest to the point a quarter and a third
    along the axes: neither the centre nor the rim. Raises ValueError where the group does not act
    exactly on the grid, or none of its points has so large an orbit.
    """
    indices = grid_action(group, grid)
    orbits = np.sort(indices, axis=0)
    whole = (np.diff(orbits, axis=0) != 0).all(0)
    if not whole.any():
        raise ValueError(f"no point of a grid of shape {grid} has {group.order} images")
    axes = np.stack(np.unravel_index(np.arange(len(whole)), grid))
    wanted = np.array(grid)[:, None] / np.resize([4, 3], len(grid))[:, None]
    away = np.where(whole, ((axes - wanted) ** 2).sum(0), np.inf)
    found: list[int] = indices[:, int(away.argmin())].tolist()
    return found


def orbit_latents(
    model: Network, dataset: Dataset, split: str, count: int, device: torch.device | str
) -> NDArray[np.float64]:
    """[n, N, d]: latents of g·x for every element g and the first N ≤ count samples of a split.

    Of a sample's artefacts those that the split keeps. Of latent maps the values of each channel
    at `points_of_an_orbit`: maps that move with the grid have the regular representation there.
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
                if z.ndim > 2:
                    points = points_of_an_orbit(dataset.group, tuple(z.shape[2:]))
                    z = z.flatten(2)[:, :, points].flatten(1)
                parts.append(z.double().cpu())
            found.append(torch.cat(parts))
    return torch.stack(found).numpy()
