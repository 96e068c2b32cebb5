"""Does a reproduced cell agree with the published one?

Tried in this order, each test's p-values adjusted by Holm over the cells of the table:

1. *agrees*: two one-sided Welch tests show that the means differ by less than the margin;
2. *above*, *below*: Welch's test shows that they differ;
3. *undecided*.

The paper gives a mean and a population standard deviation, both rounded. The latter is turned into
a sample's; the rounding is taken as an interval, and a p-value is the largest over it. Where the
number of seeds is unknown it is taken as 2, the most cautious choice. A published single run has no
standard deviation: it is taken to vary as ours do, one more draw (a prediction interval).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal, TypeVar

ALPHA = 0.05
#: Of a published value whose number of seeds is not known.
UNKNOWN_SEEDS = 2

Key = TypeVar("Key")
Outcome = Literal["agrees", "above", "below", "undecided"]


@dataclass(frozen=True)
class Published:
    """mean, std: as published, to `decimals` digits after the point; std is the population's.

    seeds: how many the paper averages, None where it does not say; of one there is no std.
    """

    mean: float
    std: float | None
    decimals: int = 3
    seeds: int | None = None

    @property
    def half(self) -> float:
        """Half a unit of the last digit: how far rounding may have moved a figure."""
        return 0.5 * 10.0**-self.decimals


@dataclass(frozen=True)
class Question:
    """A whole cell's scores, one a seed; what the paper has; how far apart still agrees.

    shared: variance of our mean that its seeds do not show, since they share the test samples.
    """

    values: tuple[float, ...]
    published: Published
    margin: float | None
    shared: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """p_equivalence, p_difference: adjusted by Holm, None where a test cannot be made."""

    word: Outcome
    p_equivalence: float | None
    p_difference: float | None


def binomial_variance(values: tuple[float, ...], samples: int) -> float:
    """p(1 − p)/N of a mean accuracy p on N samples: how a draw of test samples moves it."""
    p = fmean(values)
    return p * (1 - p) / samples


def welch(
    values: tuple[float, ...], mean: float, sample_std: float | None, n: int, shared: float = 0.0
) -> tuple[float, float, float]:
    """Difference of means, its standard error, and the degrees of freedom (Welch, Satterthwaite).

    values: at least two. mean, sample_std, n: of the other sample; of a single number without std
    the variance is ours, and so are the degrees of freedom. shared: a known variance of our mean,
    which adds to the error and never to the degrees of freedom: no verdict is surer for it.
    """
    ours = stdev(values) ** 2 / len(values)
    if sample_std is None:
        error = math.sqrt(ours + stdev(values) ** 2 + shared)
        return fmean(values) - mean, error, float(len(values) - 1)
    theirs = sample_std**2 / n
    estimated = ours**2 / (len(values) - 1) + theirs**2 / (n - 1)
    freedom = (ours + theirs) ** 2 / estimated if estimated else float(len(values) + n - 2)
    return fmean(values) - mean, math.sqrt(ours + theirs + shared), freedom


def upper_tail(difference: float, error: float, freedom: float) -> float:
    """P(T ≥ difference / error) for Student's t."""
    from scipy.special import stdtr  # as in equigrid.reporting.comparison

    if error == 0:
        return 0.5 if difference == 0 else float(difference < 0)
    return float(stdtr(freedom, -difference / error))


def _corners(published: Published) -> list[tuple[float, float | None, int]]:
    """Mean, sample std and n at the ends of the rounding intervals."""
    n = published.seeds or UNKNOWN_SEEDS
    means = {published.mean - published.half, published.mean + published.half}
    if published.std is None:
        return [(mean, None, 1) for mean in means]
    if n < 2:
        return []
    stds = {max(0.0, published.std - published.half), published.std + published.half}
    return [(m, s * math.sqrt(n / (n - 1)), n) for m, s in itertools.product(means, stds)]


def p_equivalence(question: Question) -> float | None:
    """The larger p of the two one-sided tests against ±margin; None where they cannot be made."""
    corners = _corners(question.published)
    if question.margin is None or len(question.values) < 2 or not corners:
        return None
    found = 0.0
    for mean, std, n in corners:
        difference, error, freedom = welch(question.values, mean, std, n, question.shared)
        above_low = upper_tail(difference + question.margin, error, freedom)
        below_high = upper_tail(question.margin - difference, error, freedom)
        found = max(found, above_low, below_high)
    return found


def p_difference(question: Question) -> float | None:
    """Two-sided, by Welch's test; 1 where our mean lies within the published value's rounding."""
    corners = _corners(question.published)
    if len(question.values) < 2 or not corners:
        return None
    if abs(fmean(question.values) - question.published.mean) <= question.published.half:
        return 1.0
    found = 0.0
    for mean, std, n in corners:
        difference, error, freedom = welch(question.values, mean, std, n, question.shared)
        found = max(found, min(1.0, 2 * upper_tail(abs(difference), error, freedom)))
    return found


def holm(ps: Mapping[Key, float]) -> dict[Key, float]:
    """p-values adjusted so that comparing each with α holds the family-wise error at α."""
    adjusted: dict[Key, float] = {}
    running = 0.0
    for rank, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(ps) - rank) * p))
        adjusted[key] = running
    return adjusted


def verdicts(questions: Mapping[Key, Question]) -> dict[Key, Verdict]:
    """A verdict for every cell asked about; together they are the family that Holm adjusts for."""
    raw = {key: (p_equivalence(q), p_difference(q)) for key, q in questions.items()}
    equal = holm({key: p for key, (p, _) in raw.items() if p is not None})
    unequal = holm({key: p for key, (_, p) in raw.items() if p is not None})
    found: dict[Key, Verdict] = {}
    for key, question in questions.items():
        same, other = equal.get(key), unequal.get(key)
        word: Outcome = "undecided"
        if same is not None and same < ALPHA:
            word = "agrees"
        elif other is not None and other < ALPHA:
            word = "above" if fmean(question.values) > question.published.mean else "below"
        found[key] = Verdict(word, same, other)
    return found
