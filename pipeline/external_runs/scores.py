"""Which of a run's scores count: at the step that validation selects, or the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from equigrid.external_runs.schema import SelectSpec
from equigrid.external_runs.source import ExternalRun, is_finite


@dataclass(frozen=True)
class Score:
    """value: None where there is none, and `why` says why not. once: logged once for the run, so
    that it is the score of whatever weights the run tested: no step was chosen for it.
    """

    value: float | None
    step: int | None = None
    why: str = ""
    once: bool = False


def validation(select: SelectSpec, run: ExternalRun, curve: Mapping[int, float]) -> Score:
    """The score that selects. curve: its values by step, of `at: best` alone.

    Of equal scores the earliest step; what is not finite never counts.
    """
    if select.at == "last":
        return last(select.metric, run)
    sound = {step: value for step, value in curve.items() if is_finite(value)}
    if not sound:
        return Score(None, why=f"{select.metric} not finite" if curve else f"no {select.metric}")
    best = (max if select.mode == "max" else min)(sound.values())
    return Score(best, next(step for step, value in sound.items() if value == best))


def last(metric: str, run: ExternalRun) -> Score:
    """The value of the highest step."""
    if metric not in run.metrics:
        return Score(None, why=f"no {metric}")
    value = run.metrics[metric]
    return Score(value) if is_finite(value) else Score(None, why=f"{metric} not finite")


def test(
    metric: str, run: ExternalRun, curve: Mapping[int, float], step: int | None,
    at: Literal["selected", "last"],
) -> Score:  # fmt: skip
    """A test score at a selected step, never at the nearest one.

    A score that was logged once is the run's, whatever its step: many log it without one, or at the
    step after the last.
    """
    if at == "last":
        return last(metric, run)
    if not curve:
        return Score(None, why=f"no {metric}")
    if len(curve) == 1:
        found, once = next(iter(curve.items())), True
    elif step is None:
        return Score(None, why=f"no step selected for {metric}")
    elif step not in curve:
        return Score(None, why=f"no {metric} at the selected step")
    else:
        found, once = (step, curve[step]), False
    if not is_finite(found[1]):
        return Score(None, found[0], f"{metric} not finite")
    return Score(found[1], found[0], once=once)
