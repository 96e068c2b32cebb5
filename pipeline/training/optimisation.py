"""The optimiser of a trial, and its learning rate from epoch to epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from equigrid.metrics.direction import is_better
from equigrid.record import Epoch
from equigrid.registry import OPTIMISERS
from equigrid.training.model import settings
from equigrid.trial import Trial


def make_optimiser(trial: Trial, parameters: Iterable[torch.nn.Parameter]) -> Any:
    """Adam unless the trial says otherwise."""
    chosen = trial.training.get("optimizer", {"name": "adam"})
    kind = getattr(torch.optim, OPTIMISERS[chosen["name"]].target)
    return _without_compiler(kind)(
        parameters,
        lr=trial.hyperparameters["lr"],
        weight_decay=trial.training.get("weight_decay", 0.0),
        **settings(chosen),
    )


def _without_compiler(kind: Any) -> Any:
    """An optimiser that does not import torch's compiler, to tell it what it should not compile.

    That would take a second and 100 MB in every process that trains. Private names of torch's are
    used for it; should they change, only the second is lost.
    """
    for method in vars(torch.optim.Optimizer).values():
        if function := getattr(method, "__wrapped__", None):
            function.__dynamo_disable = function
    step = getattr(kind.step, "__wrapped__", None)
    return kind if step is None else type(kind.__name__, (kind,), {"step": torch.no_grad()(step)})


def learning_rate(trial: Trial, history: Sequence[Epoch]) -> float:
    """Of the epoch after `history`: computed from it alone, so that a resumed trial has the same.

    lr_decay: a factor each epoch. schedule `linear`: in equal steps to `to` times the rate in the
    last epoch, or in epoch `over` and from there on. `exponential`: likewise, by equal factors.
    `plateau`: times `factor` whenever the score was not better for `patience` epochs.
    """
    training, first, done = trial.training, trial.hyperparameters["lr"], len(history)
    schedule = training.get("schedule", {"name": "constant"})
    if schedule["name"] in ("linear", "exponential"):
        share = min(1.0, done / max(1, schedule.get("over", training["epochs"]) - 1))
        if schedule["name"] == "exponential":
            return float(first * schedule["to"] ** share)
        return float(first * (1 + (schedule["to"] - 1) * share))
    if schedule["name"] == "plateau":
        return float(first * schedule["factor"] ** _plateaus(trial, history))
    return float(first * training.get("lr_decay", 1.0) ** done)


def _plateaus(trial: Trial, history: Sequence[Epoch]) -> int:
    select, patience = trial.training["select"], trial.training["schedule"]["patience"]
    best: float | None = None
    waited = count = 0
    for epoch in history:
        if is_better(select, epoch[select], best):
            best, waited = epoch[select], 0
        else:
            waited += 1
        if waited == patience:
            count, waited = count + 1, 0
    return count
