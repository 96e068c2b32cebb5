"""Methods against each other on the seeds they share: what the paper's claim rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from equigrid.reporting.style import USUAL, Style
from equigrid.reporting.verdicts import ALPHA, holm, upper_tail

CONFIDENCE = 0.95
#: Of two differences the spread is anybody's guess: rounded scores make it zero as like as not.
FEWEST_SEEDS = 3

#: (minuend, subtrahend, column)
Place = tuple[str, str, str]
#: higher, lower: of a column in which neither is better.
Outcome = Literal["better", "worse", "higher", "lower", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """minuend − subtrahend in a column, paired by seed.

    mean: of the differences. half_width: of its confidence interval by Student's t; p: of the
    two-sided paired t-test; both None of fewer than FEWEST_SEEDS. n: shared seeds. wanted: seeds
    that both should have. metric: of the column, where known. style: as of a cell
    (equigrid.reporting.table).
    """

    minuend: str
    subtrahend: str
    column: str
    mean: float
    half_width: float | None
    n: int
    wanted: int
    metric: str = ""
    style: Style = USUAL
    p: float | None = None

    @property
    def place(self) -> Place:
        return self.minuend, self.subtrahend, self.column

    @property
    def low(self) -> float | None:
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        return None if self.half_width is None else self.mean + self.half_width

    @property
    def is_whole(self) -> bool:
        """Whether all seeds are there, and enough of them to test."""
        return self.p is not None and self.n == self.wanted

    def turned(self) -> Comparison:
        """The same of the two the other way round."""
        return replace(self, minuend=self.subtrahend, subtrahend=self.minuend, mean=-self.mean)


@dataclass(frozen=True)
class Finding:
    """What a comparison shows of its minuend. p: adjusted by Holm."""

    word: Outcome
    p: float


def compare(
    minuend: str, a: Mapping[int, float], subtrahend: str, b: Mapping[int, float],
    column: str, wanted: int, metric: str = "", style: Style = USUAL,
) -> Comparison | None:  # fmt: skip
    """The paired difference of two methods' scores by seed; None without a shared seed."""
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return None
    differences = [a[seed] - b[seed] for seed in shared]
    mean, half, p = fmean(differences), None, None
    if len(shared) >= FEWEST_SEEDS:
        from scipy.special import stdtrit  # a fifth of a second, which most commands need not wait

        freedom = len(shared) - 1
        error = stdev(differences) / math.sqrt(len(shared))
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
        p = min(1.0, 2 * upper_tail(abs(mean), error, freedom))
    return Comparison(
        minuend, subtrahend, column, mean, half, len(shared), wanted, metric, style, p
    )


def findings(
    family: Iterable[Comparison], higher_is_better: Mapping[str, bool | None]
) -> dict[Place, Finding]:
    """Of each whole comparison what it shows at 5 % over the whole family (Holm)."""
    whole = {it.place: it for it in family if it.is_whole}
    adjusted = holm({place: it.p for place, it in whole.items() if it.p is not None})
    found: dict[Place, Finding] = {}
    for place, p in adjusted.items():
        word: Outcome = "undecided"
        if p < ALPHA:
            is_higher, better = whole[place].mean > 0, higher_is_better[place[2]]
            if better is None:
                word = "higher" if is_higher else "lower"
            else:
                word = "better" if is_higher == better else "worse"
        found[place] = Finding(word, p)
    return found
