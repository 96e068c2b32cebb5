"""Verdicts and comparisons against SciPy's own tests, and Holm against its definition."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from equigrid.reporting.comparison import compare
from equigrid.reporting.formats import interval
from equigrid.reporting.verdicts import (
    ALPHA,
    Published,
    Question,
    binomial_variance,
    holm,
    p_difference,
    p_equivalence,
    verdicts,
)

#: So many digits that rounding does not matter.
EXACT = 12
OURS = (0.912, 0.917, 0.915, 0.921, 0.910)

scores = st.floats(0.1, 0.99, allow_nan=False)
samples = st.lists(scores, min_size=2, max_size=8, unique=True).map(tuple)
spreads = st.floats(0.001, 0.1)


def sample_std(population: float, n: int) -> float:
    return population * math.sqrt(n / (n - 1))


@given(samples, scores, spreads, st.integers(2, 10))
def test_the_difference_is_welchs_test(
    values: tuple[float, ...], mean: float, std: float, n: int
) -> None:
    expected = stats.ttest_ind_from_stats(
        fmean(values), stdev(values), len(values), mean, sample_std(std, n), n, equal_var=False
    ).pvalue
    found = p_difference(Question(values, Published(mean, std, EXACT, n), None))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(samples, scores)
def test_a_published_single_run_is_one_more_draw_of_ours(
    values: tuple[float, ...], mean: float
) -> None:
    """A prediction interval: t = (mean − x) / (s √(1 + 1/n)), n − 1 degrees of freedom."""
    n = len(values)
    t = (fmean(values) - mean) / (stdev(values) * math.sqrt(1 + 1 / n))
    found = p_difference(Question(values, Published(mean, None, EXACT, 1), None))
    assert found == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-6, abs=1e-9)


@given(samples, scores, spreads, st.integers(2, 10), st.floats(0.001, 0.2))
def test_equivalence_is_two_one_sided_welch_tests(
    values: tuple[float, ...], mean: float, std: float, n: int, margin: float
) -> None:
    def one_sided(shift: float, alternative: str) -> float:
        return float(stats.ttest_ind_from_stats(
            fmean(values), stdev(values), len(values), mean + shift, sample_std(std, n), n,
            equal_var=False, alternative=alternative,
        ).pvalue)  # fmt: skip

    expected = max(one_sided(-margin, "greater"), one_sided(margin, "less"))
    found = p_equivalence(Question(values, Published(mean, std, EXACT, n), margin))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(samples, scores, st.floats(0, 0.05), st.integers(1, 3), st.floats(0.005, 0.1), st.data())
def test_whatever_was_rounded_away_the_verdict_would_not_be_surer(
    values: tuple[float, ...],
    mean: float,
    std: float,
    decimals: int,
    margin: float,
    data: st.DataObject,
) -> None:
    published = Published(round(mean, decimals), round(std, decimals), decimals, 5)
    inside = st.floats(-published.half, published.half)
    true_mean = published.mean + data.draw(inside)
    # The spread that was published is an end of its interval, or its middle.
    true_std = max(0.0, published.std + data.draw(st.sampled_from([-1, 1])) * published.half)
    truth = Question(values, Published(true_mean, true_std, EXACT, 5), margin)
    cautious = Question(values, published, margin)
    for test in (p_equivalence, p_difference):
        sure, careful = test(truth), test(cautious)
        assert sure is not None
        assert careful is not None
        assert careful >= sure - 1e-9


def test_an_unknown_number_of_seeds_is_taken_as_two() -> None:
    unknown, two, five = (Published(0.9, 0.004, 3, n) for n in (None, 2, 5))
    for test in (p_equivalence, p_difference):
        at = [test(Question(OURS, published, 0.05)) for published in (unknown, two, five)]
        assert at[0] == at[1]
        assert at[0] is not None
        assert at[2] is not None
        assert at[0] > at[2]


@given(st.dictionaries(st.integers(), st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_as_its_step_down_procedure_does(ps: dict[int, float]) -> None:
    rejected = set()
    for rank, (key, p) in enumerate(sorted(ps.items(), key=lambda item: item[1])):
        if p * (len(ps) - rank) >= ALPHA:
            break
        rejected.add(key)
    adjusted = holm(ps)
    assert {key for key, p in adjusted.items() if p < ALPHA} == rejected
    assert all(ps[key] <= p <= 1 for key, p in adjusted.items())


def word(mean: float, std: float = 0.004, values: tuple[float, ...] = OURS) -> str:
    return verdicts({0: Question(values, Published(mean, std, 3, 5), 0.01)})[0].word


def test_the_four_verdicts() -> None:
    assert word(0.915) == "agrees"
    assert word(0.950) == "below"
    assert word(0.870) == "above"
    assert word(0.920) == "undecided"
    # A difference that can be told from nought but lies within the margin agrees: tried first.
    sharp = tuple(0.915 + 1e-6 * n for n in range(5))
    assert word(0.918, 0.0, sharp) == "agrees"
    assert p_difference(Question(sharp, Published(0.918, 0.0, 3, 5), 0.01)) < 1e-3


def test_without_spread_or_seeds_there_is_no_certainty() -> None:
    assert word(0.915, values=(0.915,)) == "undecided"
    same = (0.915,) * 5
    assert word(0.915, 0.0, same) == "agrees"
    assert word(0.940, 0.0, same) == "below"
    assert word(0.915, 0.3, same) == "undecided"


def test_holm_counts_all_cells_of_the_table() -> None:
    # p = 0.03 each: alone they differ, as one of four they do not.
    close = Question(OURS, Published(0.923, 0.004, EXACT, 5), None)
    p = p_difference(close)
    assert p is not None
    assert ALPHA / 4 < p < ALPHA
    assert verdicts({0: close})[0].word == "below"
    assert {it.word for it in verdicts(dict.fromkeys(range(4), close)).values()} == {"undecided"}


@given(st.lists(st.tuples(scores, scores), min_size=3, max_size=8))
def test_a_comparison_is_the_paired_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = ({seed: pair[i] for seed, pair in enumerate(pairs)} for i in (0, 1))
    differences = [x - y for x, y in pairs]
    found = compare("Ours", a, "CNN", b, "C4", len(pairs))
    assert found is not None
    assert found.mean == pytest.approx(fmean(differences))
    if stdev(differences) > 1e-9:
        expected = stats.ttest_rel([x for x, _ in pairs], [y for _, y in pairs])
        low, high = expected.confidence_interval(0.95)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_fewer_than_three_seeds_have_no_interval() -> None:
    """Two differences that rounding makes equal would have one of no width."""
    for n in (1, 2):
        a, b = dict.fromkeys(range(n), 0.91), dict.fromkeys(range(n), 0.9)
        found = compare("Ours", a, "CNN", b, "C4", n)
        assert found is not None
        assert (found.low, found.high) == (None, None)
        assert interval(found) == f"+0.010, n={n} (no interval below 3)"
    same = dict.fromkeys(range(3), 0.9)
    found = compare("Ours", same, "CNN", same, "C4", 3)
    assert interval(found) == "+0.000 [+0.000, +0.000], n=3"


def test_only_shared_seeds_are_compared() -> None:
    found = compare("Ours", {0: 0.9, 1: 0.8, 3: 0.7}, "CNN", {1: 0.5, 3: 0.6, 4: 0.1}, "C4", 5)
    assert found is not None
    assert (found.n, found.wanted) == (2, 5)
    assert found.mean == pytest.approx(0.2)
    assert compare("Ours", {0: 0.9}, "CNN", {1: 0.5}, "C4", 2) is None


def test_test_samples_that_seeds_share_make_a_verdict_less_sure() -> None:
    """The variance p(1 − p)/N is added to that of our mean, the degrees of freedom stay."""
    published, shared = Published(0.93, 0.004, EXACT, 5), binomial_variance(OURS, 5000)
    p = fmean(OURS)
    assert shared == pytest.approx(p * (1 - p) / 5000)
    ours, theirs = stdev(OURS) ** 2 / 5, sample_std(0.004, 5) ** 2 / 5
    error = math.sqrt(ours + theirs + shared)
    freedom = (ours + theirs) ** 2 / ((ours**2 + theirs**2) / 4)
    expected = 2 * stats.t.sf(abs(p - 0.93) / error, freedom)
    assert p_difference(Question(OURS, published, 0.01, shared)) == pytest.approx(expected)
    assert expected > (p_difference(Question(OURS, published, 0.01)) or 1)
