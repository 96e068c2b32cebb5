"""Which row of a column is the best, and which are not shown to be worse."""

from __future__ import annotations

from dataclasses import dataclass

from equigrid.reporting.comparison import Comparison, compare
from equigrid.reporting.table import Table
from equigrid.reporting.verdicts import ALPHA, holm

Place = tuple[str, str]


@dataclass(frozen=True)
class Ranking:
    """Cells by (row, column). best: with the best mean. level: not shown to differ from it."""

    best: frozenset[Place]
    level: frozenset[Place]


def ranking(table: Table) -> Ranking:
    """Of whole cells, in columns where higher or lower is better.

    level: all but those that the paired t-test tells from the best row of their column, at 5 % over
    the whole table (Holm); so what cannot be tested is level too. A row that is not trained has one
    score for every seed. Nothing of layout `runs`, which is no contest.
    """
    if table.layout == "runs":
        return Ranking(frozenset(), frozenset())
    best: set[Place] = set()
    tests: dict[Place, Comparison | None] = {}
    for column in table.columns:
        whole = [
            row
            for row in table.rows
            if table.cells[row, column].is_whole and table.cells[row, column].values
        ]
        if table.higher_is_better[column] is None or len(whole) < 2:
            continue
        sign = 1 if table.higher_is_better[column] else -1
        scores = {row: sign * (table.cells[row, column].mean or 0.0) for row in whole}
        leader = max(scores, key=lambda row: scores[row])
        for row in whole:
            if scores[row] == scores[leader]:
                best.add((row, column))
            else:
                tests[row, column] = _paired(table, leader, row, column)
    ps = {place: it.p for place, it in tests.items() if it is not None and it.p is not None}
    worse = {place for place, p in holm(ps).items() if p < ALPHA}
    return Ranking(frozenset(best), frozenset(tests.keys() - worse))


def _paired(table: Table, leader: str, row: str, column: str) -> Comparison | None:
    """None where no seed is shared, and of two rows that are not trained."""
    a, b = table.cells[leader, column], table.cells[row, column]
    left, right = (dict(zip(it.seeds, it.values, strict=True)) for it in (a, b))
    if leader in table.trivial_rows:
        left = dict.fromkeys(right, a.values[0])
    if row in table.trivial_rows:
        right = dict.fromkeys(left, b.values[0])
    return compare(leader, left, row, right, column, min(a.wanted, b.wanted))
