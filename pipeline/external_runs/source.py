"""Runs as a store has them, and what a source of them can do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

#: MLflow's databases hold infinity as the largest number there is.
LARGEST = 1.7e308


@dataclass(frozen=True)
class Point:
    """A value of a curve. time: when it was logged, in milliseconds; order alone counts."""

    step: int
    value: float
    time: int = 0


@dataclass(frozen=True)
class ExternalRun:
    """A tracked run. values: texts by key, such as `params.lr`. metrics: the last value of each.

    parent: the id of the run that it is a child of. started, ended: milliseconds since 1970.
    url: where a browser shows it; empty where there is no such place.
    """

    id: str
    experiment: str = ""
    status: str = "FINISHED"
    started: int = 0
    ended: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent: str = ""
    url: str = ""

    @property
    def name(self) -> str:
        return self.values.get("attributes.run_name", "")

    def value(self, key: str) -> str | None:
        """A parameter, tag, attribute or last metric as text; None where the run has none."""
        if key in self.values:
            return self.values[key]
        if key.startswith("metrics.") and (name := key.removeprefix("metrics.")) in self.metrics:
            return f"{self.metrics[name]:g}"
        return None


Wanted = Sequence[tuple[ExternalRun, str]]
Curves = Mapping[tuple[str, str], Sequence[Point]]


class Source(Protocol):
    """Where runs are read. Nothing is ever written there."""

    def described(self) -> str:
        """The store and its experiments, for a note: nothing of when it was read."""
        ...

    def runs(self) -> Sequence[ExternalRun]:
        """All active runs of the experiments, in the order in which they started.

        Raises InputError where there is no such store or experiment.
        """
        ...

    def matching(self) -> frozenset[str] | None:
        """The ids of the runs that the file's filter leaves; None where it has no filter."""
        ...

    def curves(self, wanted: Wanted) -> Curves:
        """Every logged value of metrics of runs, by run id and metric."""
        ...


def is_finite(value: float) -> bool:
    return math.isfinite(value) and abs(value) < LARGEST


def by_step(points: Iterable[Point]) -> dict[int, float]:
    """One value a step, by step: of several that were logged the latest, of those the last."""
    found: dict[int, Point] = {}
    for point in points:
        known = found.get(point.step)
        if known is None or point.time >= known.time:
            found[point.step] = point
    return {step: found[step].value for step in sorted(found)}
