"""A trial's network: made, or made and given its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from equigrid.datasets.resident import Dataset
from equigrid.lookup import load, model_entry
from equigrid.training.normalisation import with_accurate_sums
from equigrid.training.precision import fit_for_bf16, in_bf16
from equigrid.training.streams import seeded
from equigrid.training.weights import load_weights
from equigrid.trial import Trial

#: What the names of an objective's own tensors begin with, among a model's weights.
OBJECTIVE = "objective/"


def of_model(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's own among a trial's weights."""
    return {name: it for name, it in weights.items() if not name.startswith(OBJECTIVE)}


def of_objective(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The objective's own among a trial's weights, by the names it gave them."""
    return {n.removeprefix(OBJECTIVE): it for n, it in weights.items() if n.startswith(OBJECTIVE)}


def choose_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A part's parameters: its settings but for its name."""
    return {name: value for name, value in spec.items() if name != "name"}


def build_model(trial: Trial, dataset: Dataset, device: str) -> Any:
    """The initialised network of a trial; the same weights whatever the device."""
    entry = model_entry(trial.model["name"])
    if entry.trivial:
        return load(entry.target)(dataset, **settings(trial.model)).to(device)
    with seeded("cpu", trial.seed, "initialisation"):
        given = settings(trial.model) | ({"group": dataset.group} if entry.by_group else {})
        model = load(entry.target)(dataset.input_shape, dataset.outputs, **given)
    with_accurate_sums(model)
    if in_bf16(trial):
        fit_for_bf16(model)
    # A third faster on a CPU: 0.97 → 0.65 s a step of 256 double digits; 2.9 → 2.0 s of 32 volumes.
    # Never on a GPU: there torch 2.11 gives wrong gradients of a padded average pooling in that
    # layout, and says nothing (pytorch/pytorch#188344; table 4's CNN has three such).
    layout = {3: torch.channels_last, 4: torch.channels_last_3d}.get(len(dataset.input_shape))
    if layout is None or torch.device(device).type != "cpu":
        return model.to(device)
    return model.to(device, memory_format=layout)


def trained_model(trial: Trial, dataset: Dataset, weights: Path, device: str) -> Any:
    """The network of a trial with its best weights, ready to predict; trivial rows have none.

    Raises OSError or ValueError where the weights cannot be read.
    """
    model = build_model(trial, dataset, device).eval()
    if trial.training:
        model.load_state_dict(of_model(load_weights(weights)[0]))
    return model
