"""Methods against each other on the seeds they share: what the paper's claim rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95
#: Of two differences the spread is anybody's guess: rounded scores make it zero as like as not.
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Comparison:
    """minuend − subtrahend in a column, paired by seed.

    mean: of the differences. half_width: of its confidence interval by Student's t, None of fewer
    than FEWEST_SEEDS. n: shared seeds. wanted: seeds that both should have. metric: of the column,
    where known. decimals: as of a cell (equigrid.reporting.table).
    """

    minuend: str
    subtrahend: str
    column: str
    mean: float
    half_width: float | None
    n: int
    wanted: int
    metric: str = ""
    decimals: int | None = None

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.half_width


def compare(
    minuend: str, a: Mapping[int, float], subtrahend: str, b: Mapping[int, float],
    column: str, wanted: int, metric: str = "", decimals: int | None = None,
) -> Comparison | None:  # fmt: skip
    """The paired difference of two methods' scores by seed; None without a shared seed."""
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return None
    differences = [a[seed] - b[seed] for seed in shared]
    half = None
    if len(shared) >= FEWEST_SEEDS:
        from scipy.special import stdtrit  # a fifth of a second, which most commands need not wait

        quantile = float(stdtrit(len(shared) - 1, (1 + CONFIDENCE) / 2))
        half = quantile * stdev(differences) / math.sqrt(len(shared))
    mean = fmean(differences)
    return Comparison(
        minuend, subtrahend, column, mean, half, len(shared), wanted, metric, decimals
    )
