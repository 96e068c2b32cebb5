"""Which way a score is better, and by how much it may depart. Imports no torch."""

from __future__ import annotations

from pipeline.registry import metric_entry


def higher_is_better(score: str) -> bool:
    """Whether a score such as `accuracy` or `val_loss` is better when higher."""
    name = score.removeprefix("val_")
    return name != "loss" and metric_entry(name).higher_is_better


def is_better(score: str, value: float, than: float | None) -> bool:
    """Strictly better: among equals the first stays."""
    if than is None:
        return True
    return value > than if higher_is_better(score) else value < than


def margin_of(metric: str, published: float) -> float | None:
    """By how much a score may depart from a published one and still agree with it."""
    found = metric_entry(metric)
    return found.margin * published if found.margin and found.relative else found.margin
