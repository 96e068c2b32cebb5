"""Which linear action of the group a network's latents carry, beside what chance would give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.objectives.latents import latent_shape, orbit_latents
from equigrid.symmetry.carried import Carried, Real, carried_action, split_orbits
from equigrid.symmetry.characters import irreducibles, regular_multiplicities

#: Of the format below.
SCHEMA = 2
#: Inputs whose orbits are taken, for each dimension of the latent.
ORBITS = 20
#: Resamplings of the inputs, for how certain the multiplicities are.
RESAMPLED = 20
TRAINED, UNTRAINED, SHUFFLED = "trained", "untrained", "shuffled orbits"


def analyse(
    model: Network, untrained: Any, dataset: Dataset, split: str, device: str
) -> dict[str, Any]:
    """What `carried_action` finds, as plain data.

    On the first 20·d inputs of a split (or all there are), one half to fit and one to test: of the
    network, of the same one before its training, and with the latents in a random order, where no
    action can be found. Numbers that there are not are None.
    """
    size = latent_shape(model, dataset)
    maps = len(size) > 1
    wanted = ORBITS * size[0] * (dataset.group.order if maps else 1)
    z = orbit_latents(model, dataset, split, wanted, device)
    before = orbit_latents(untrained, dataset, split, wanted, device)
    stream = np.random.default_rng(0)
    # Over elements, too: a mean that depends on the element is an action, and would be found.
    shuffled = stream.permutation(z.reshape(-1, z.shape[2])).reshape(z.shape)
    found = {
        name: _carried(dataset, latents)
        for name, latents in ((TRAINED, z), (UNTRAINED, before), (SHUFFLED, shuffled))
    }
    networks = {name: _plain(it) for name, it in found.items()}
    drawn = _resampled(dataset, z, stream)
    networks[TRAINED] |= {"mean": drawn.mean(0).tolist(), "sd": drawn.std(0).tolist()}
    return {
        "schema": SCHEMA,
        "split": split,
        "group": dataset.group.name,
        "inputs": int(z.shape[1]),
        "inputs_wanted": wanted,
        "latent": int(z.shape[2]),
        "maps": maps,
        "irreducibles": [[it.name, it.dimension] for it in irreducibles(dataset.group)],
        "networks": networks,
    }


def _carried(dataset: Dataset, latents: Real) -> Carried:
    return carried_action(dataset.group, *split_orbits(latents), dataset.composition)


def _resampled(dataset: Dataset, latents: Real, stream: np.random.Generator) -> Real:
    """[RESAMPLED, irreducibles]: multiplicities with inputs drawn again, each half for itself."""
    halves = split_orbits(latents)
    drawn = []
    for _ in range(RESAMPLED):
        fitted, tested = (
            half[:, stream.integers(half.shape[1], size=half.shape[1])] for half in halves
        )
        found = carried_action(dataset.group, fitted, tested, dataset.composition)
        drawn.append(found.multiplicities)
    return np.stack(drawn)


def _plain(found: Carried) -> dict[str, Any]:
    numbers = {
        name: getattr(found, name)
        for name in ("defect", "r_squared", "r_squared_identity", "r_squared_representation",
                     "distance")
    }  # fmt: skip
    return {
        "rank": found.rank,
        "levels": {f"{level:g}": count for level, count in found.levels.items()},
        "threshold": found.threshold,
        "kept": found.kept,
        "multiplicities": found.multiplicities.tolist(),
        "regular": regular_multiplicities(found.group, found.kept).tolist(),
        **{name: None if math.isnan(it) else float(it) for name, it in numbers.items()},
        "why": found.why,
    }
