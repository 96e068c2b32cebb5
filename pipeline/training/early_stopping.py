"""Which epoch of a history is the best, and whether to stop there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from equigrid.metrics.direction import higher_is_better, is_better
from equigrid.record import Epoch


def best_epoch(history: Sequence[Epoch], select: str) -> int:
    """Return the first epoch (1, 2, …) with the best score `select`; 0 where there is none yet."""
    scores = [epoch[select] for epoch in history]
    if not scores:
        return 0
    return 1 + scores.index(max(scores) if higher_is_better(select) else min(scores))


def is_stale(history: Sequence[Epoch], training: Mapping[str, Any]) -> bool:
    """Tell whether a training should stop early, by its settings and its epochs so far.

    `patience`: so many epochs without one that is better, by more than `min_delta` if given.
    `trend` (in its place): epoch `after` is over, and the mean score of the last `window` epochs is
    no better than that of the `window` before.
    """
    select = training["select"]
    if "trend" not in training:
        waited = len(history) - _last_progress(history, select, training.get("min_delta", 0.0))
        return bool(waited >= training["patience"])
    after, window = training["trend"]["after"], training["trend"]["window"]
    if len(history) <= after or len(history) < 2 * window:
        return False
    scores = [epoch[select] for epoch in history]
    return not is_better(select, fmean(scores[-window:]), fmean(scores[-2 * window : -window]))


def _last_progress(history: Sequence[Epoch], select: str, min_delta: float) -> int:
    """The last epoch that was better than the one of this kind before, by over min_delta."""
    if not min_delta:
        return best_epoch(history, select)
    at, reference, sign = 0, None, -1 if higher_is_better(select) else 1
    for epoch, row in enumerate(history, 1):
        if reference is None or sign * row[select] < sign * reference - min_delta:
            at, reference = epoch, row[select]
    return at
