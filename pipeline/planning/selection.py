"""Choosing a point of the grid on validation scores alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from equigrid.metrics.direction import higher_is_better
from equigrid.record import Result
from equigrid.trial import Trial


@dataclass(frozen=True)
class Selection:
    """point: the chosen hyperparameters. score: its validation score (mean over grid seeds).

    candidates, failed: grid points compared, and those without a score.
    """

    point: Mapping[str, float]
    score: float
    candidates: int
    failed: int


def select(
    trials: Sequence[Trial], results: Mapping[str, Result], score: str, ties: Sequence[str]
) -> Selection | None:
    """The best validation score over the grid; None without any.

    ties: of equal scores the lower values win, in this order of hyperparameters.

    A point counts only when every one of its seeds has finished.
    """
    points: dict[tuple[tuple[str, float], ...], list[float | None]] = {}
    for trial in trials:
        result = results.get(trial.key)
        value = None if result is None else result.validation[score]
        points.setdefault(tuple(sorted(trial.hyperparameters.items())), []).append(value)
    sign = -1 if higher_is_better(score) else 1
    ranked = []
    for point, values in points.items():
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            settings = dict(point)
            mean = fmean(known)
            rank = (sign * mean, *(settings.get(name, 0.0) for name in ties))
            ranked.append((rank, mean, settings))
    if not ranked:
        return None
    _, mean, settings = min(ranked, key=lambda entry: entry[0])
    return Selection(settings, mean, len(ranked), len(points) - len(ranked))
