"""What a figure shows, in words with numbers: for readers who do not see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from equigrid.reporting.page.charts import GridPoint
from equigrid.reporting.words import spoken


def heat_map(points: Sequence[GridPoint], score: str) -> str:
    scored = [point for point in points if point.score is not None]
    parts = [f"{spoken(score)} at {len(points)} grid points".capitalize()]
    if scored:
        ranked = sorted(scored, key=lambda point: (point.score, point.name))
        parts.append(f"lowest {ranked[0].score:.4f} at {ranked[0].name}")
        parts.append(f"highest {ranked[-1].score:.4f} at {ranked[-1].name}")
    for point in points:
        if point.selected:
            parts.append(f"selected {point.name} with {point.score:.4f}")
    for state in ("failed", "missing"):
        if named := [point.name for point in points if point.state == state]:
            parts.append(f"{state}: {', '.join(named)}")
    return "; ".join(parts) + "."


def curves(
    histories: Mapping[str, Sequence[Sequence[float]]], score: str, along: str = "epoch"
) -> str:
    parts = [f"{spoken(score)} by {along}".capitalize()]
    for row, seeds in histories.items():
        first, last = fmean(seed[0] for seed in seeds), fmean(seed[-1] for seed in seeds)
        lengths = sorted(map(len, seeds))
        count = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
        parts.append(
            f"{row}: {_seeds(len(seeds))}, mean from {first:.3f} in {along} 1 to {last:.3f} at the "
            f"end, after {count} {along}s"
        )
    return "; ".join(parts) + "."


def score_by_error(points: Mapping[str, Sequence[tuple[float, float]]], score: str) -> str:
    parts = [f"{score.capitalize()} against relative equivariance error"]
    for row, pairs in points.items():
        errors, scores = zip(*pairs, strict=True)
        parts.append(
            f"{row}: {_seeds(len(pairs))}, error {_range(errors, '.3g')}, "
            f"score {_range(scores, '.3f')}"
        )
    return "; ".join(parts) + "."


def score_by_parameters(points: Mapping[str, tuple[int, float, float]], score: str) -> str:
    parts = [f"{score.capitalize()} against parameters"]
    for row, (count, mean, std) in points.items():
        parts.append(f"{row}: {count} parameters, mean {mean:.3f}, standard deviation {std:.3f}")
    return "; ".join(parts) + "."


def seeds(scores: Mapping[str, Sequence[float]], score: str) -> str:
    parts = [f"Test {spoken(score)} of each seed"]
    for row, values in scores.items():
        parts.append(f"{row}: {_seeds(len(values))}, {_range(values, '.4g')}")
    return "; ".join(parts) + "."


def forest(
    differences: Mapping[str, tuple[float, float | None, float | None, bool]], label: str
) -> str:
    parts = [f"Paired differences, {label}"]
    for row, (mean, low, high, decided) in differences.items():
        ends = f", from {low:+.3g} to {high:+.3g}" if low is not None and high is not None else ""
        parts.append(f"{row}: {mean:+.3g}{ends}, {'decided' if decided else 'undecided'}")
    return "; ".join(parts) + "."


def orbits(labels: Sequence[str], elements: Sequence[str]) -> str:
    shown = ", ".join(label for label in labels if label)
    return (
        f"{len(labels)} training inputs{f' ({shown})' if shown else ''}, each under the group "
        f"elements {', '.join(elements)}."
    )


def rollout(shown: Sequence[str], frames: Sequence[int]) -> str:
    return (
        f"A roll-out of {frames[-1]} frames, of which {', '.join(map(str, frames))} are shown: "
        f"{', '.join(shown)}."
    )


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _range(values: Sequence[float], form: str) -> str:
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"
