"""What a metric is to an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from equigrid.lookup import load, metric_entry


class Metric(Protocol):
    """Made anew for each pass over a split, fed its batches, asked once.

    From outside the package it also says `higher_is_better`, and may say `margin`, `relative`
    and `is_share` (see equigrid.registry.MetricEntry) and `reads`: `outputs` or `latents`, the
    first argument of `update`. One that reads latents may have `fit(latents, targets)`: it is
    called once before, with those of the whole training split as it is. Such probes are for tests
    alone.
    """

    def update(self, found: Tensor, targets: Tensor) -> None:
        """[b, …] outputs (or latents) and [b, …] targets of a batch."""

    def compute(self) -> float | Mapping[str, float] | None:
        """The score; further scores by name with it; None where these targets do not allow one."""


def make_metric(name: str) -> Any:
    entry = metric_entry(name)
    return load(entry.target)(**entry.settings)


class Scores:
    """Several metrics over one pass."""

    def __init__(self, names: Sequence[str]) -> None:
        self._metrics = {name: make_metric(name) for name in dict.fromkeys(names)}

    def update(self, found: Tensor, targets: Tensor) -> None:
        for metric in self._metrics.values():
            metric.update(found, targets)

    def fit(self, latents: Tensor, targets: Tensor) -> None:
        for metric in self._metrics.values():
            if hasattr(metric, "fit"):
                metric.fit(latents, targets)

    def compute(self) -> dict[str, float]:
        """Scores by name; those that these targets do not allow are left out."""
        scores: dict[str, float] = {}
        for name, metric in self._metrics.items():
            found = metric.compute()
            further = found if isinstance(found, Mapping) else {name: found}
            for key, value in further.items():
                if value is not None:
                    scores[key] = _number(name, value)
        return scores


def numbers(scores: Mapping[str, float]) -> tuple[dict[str, float], dict[str, str]]:
    """Those that are finite, and of the others what they are."""
    undefined = {name: str(it) for name, it in scores.items() if not math.isfinite(it)}
    return {name: it for name, it in scores.items() if name not in undefined}, undefined


def _number(metric: str, value: Any) -> float:
    """ValueError names the metric whose score is none."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{metric}: compute() gives {value!r}, not a number") from error
