"""What an entry of the registry says of a part: where it lives and what it needs.

Stated here and not by the class, which would have to be imported: with torch that takes a second
and a half, and every command checks a search space. A class from outside the package states it
itself; of what it does not, that of the packaged class it inherits from holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from equigrid.parameters import NonNegative, Parameters, Positive
from equigrid.symmetry import FiniteGroup

CLASSIFICATION, AUTOREGRESSION = "classification", "autoregression"
RECONSTRUCTION = "reconstruction"
#: What a model or an objective serves: one task, or several.
Tasks = str | tuple[str, ...]
#: Of a searched value.
HYPERPARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
#: What a grid may search of any trained row, with its type; `lr` always.
OPTIMISER_SEARCHED = {"lr": Positive, "weight_decay": NonNegative}


@dataclass(frozen=True, kw_only=True)
class PartEntry:
    """requires: modules that not every installation has. extra: of equigrid's, that brings them."""

    requires: tuple[str, ...] = ()
    extra: str = ""


@dataclass(frozen=True)
class ModelEntry(PartEntry):
    """target: a callable (input_shape, outputs, **parameters) giving a torch module.

    parameters: those a search space may set; numbers among them a grid may search.

    The module has `encode(x)`, the latent z [batch, latent] or [batch, channels, *grid], and
    `head(z)`, the outputs.
    trivial: a predictor without training, called with the dataset alone.
    task: of the datasets it can serve, or tasks. axes: of their grid, None where any will do.
    latent_maps: the latent is channels on the input's own grid, and the group moves the grid.
    by_group: target is called with `group=` too, the dataset's; it acts on the plane.
    draws: whether it adds drawings to a report.
    invariant: its latent is invariant by construction, or built from what is: that it does not
    follow the regular representation says nothing.
    cpu_seconds: of one forward and backward pass of a sample on one CPU thread, by settings and
    input shape; feeds the first estimate of a plan, None where never measured.
    """

    target: str
    parameters: type[BaseModel] = Parameters
    trivial: bool = False
    task: Tasks = CLASSIFICATION
    axes: int | None = None
    latent_maps: bool = False
    by_group: bool = False
    draws: bool = False
    invariant: bool = False
    cpu_seconds: Callable[[Mapping[str, Any], tuple[int, ...]], float] | None = None


@dataclass(frozen=True)
class ObjectiveEntry(PartEntry):
    """target: called as (hyperparameters, **parameters), gives an objective of a batch's loss.

    hyperparameters: the searched values by name, lr among them.

    task: of the datasets it can serve, or tasks. parameters: those a search space may set. check:
    raises ValueError where they do not suit a dataset's group.
    searched: its own hyperparameters, each with its type (a pydantic annotation); a grid has a
    list of each. Of equal scores the lower values win, in this order, then the lower lr.
    wants: of those the ones that are 0 where the model has this parameter false.
    passes: encoder passes per sample. draws: whether it adds drawings to a report.
    needs_latent: the group acts on the latent, which must hold at least one copy of it.
    scores: what it measures of a test split itself, beside the dataset's metrics.
    """

    target: str
    parameters: type[BaseModel] = Parameters
    searched: Mapping[str, Any] = field(default_factory=dict)
    wants: Mapping[str, str] = field(default_factory=dict)
    task: Tasks = CLASSIFICATION
    needs_latent: bool = False
    passes: int = 1
    draws: bool = False
    scores: tuple[str, ...] = ()
    check: Callable[[Mapping[str, Any], FiniteGroup], None] | None = None


@dataclass(frozen=True)
class TaskEntry(PartEntry):
    """What targets are and what outputs are to them (equigrid.objectives.task).

    always: metrics that are measured whatever a dataset says. like: of a task from outside, the one
    whose models and objectives serve it too.
    """

    target: str
    always: tuple[str, ...] = ()
    like: str | None = None


@dataclass(frozen=True)
class MetricEntry(PartEntry):
    """target: a class with `update` and `compute` (equigrid.metrics.metric); settings: its own.

    margin: a difference from the published value that still agrees, None where none does.
    relative: the margin is a fraction of the published value. reads: `outputs` or `latents`.
    may_be_tiny: shown by its first digits instead of three decimals. is_share: of something, from
    0 to 1, so that a table may show it in per cent.
    """

    target: str
    higher_is_better: bool
    margin: float | None = None
    relative: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    reads: str = "outputs"
    may_be_tiny: bool = False
    is_share: bool = False


@dataclass(frozen=True)
class Optimiser:
    """target: a class of torch.optim, called as (tensors, lr=…, weight_decay=…, **parameters)."""

    target: str
    parameters: type[BaseModel] = Parameters
