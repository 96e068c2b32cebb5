"""Which way a score is better, and by how much it may depart. Imports no torch."""

from __future__ import annotations

from equigrid.lookup import metric_entry, score_kind
from equigrid.own_parts.imports import is_external
from equigrid.registry import METRICS, SCORES


def is_objectives_own(score: str) -> bool:
    """Whether it is no metric of outputs, but something that an objective measures itself."""
    return score not in METRICS and not is_external(score)


def higher_is_better(score: str) -> bool | None:
    """Whether a score such as `accuracy` or `val_loss` is better when higher; None where neither.

    Of what an objective from outside the package measures itself neither is known.
    """
    name = score.removeprefix("val_")
    if name == "loss":
        return False
    if not is_objectives_own(name):
        return metric_entry(name).higher_is_better
    return SCORES.get(score_kind(name))


def is_share(metric: str) -> bool:
    """Whether a score is a share of something, which per cent may stand for."""
    return bool(metric) and not is_objectives_own(metric) and metric_entry(metric).is_share


def is_better(score: str, value: float, than: float | None) -> bool:
    """Strictly better: among equals the first stays."""
    if than is None:
        return True
    return value > than if higher_is_better(score) else value < than


def margin_of(metric: str, published: float) -> float | None:
    """By how much a score may depart from a published one and still agree with it."""
    if is_objectives_own(metric):
        return None
    found = metric_entry(metric)
    return found.margin * published if found.margin and found.relative else found.margin
