"""What a table says, in a few sentences: no more than its verdicts and paired tests allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from equigrid.reporting.comparison import Comparison
from equigrid.reporting.table import Table

#: Names of a list before it is cut.
LISTED = 6


def sentences(table: Table) -> Iterator[str]:
    """Of the published figures first, then of the reference row against the others.

    Of a table that has neither, the first of its findings.
    """
    found = [*_published(table), *_compared(table)]
    yield from found or table.findings[:1]


def _published(table: Table) -> Iterator[str]:
    if not table.has_published:
        return
    if not table.verdicts:
        yield "Nothing is tested against the published figures; the notes below say why."
        return
    counts = Counter(str(verdict.word) for verdict in table.verdicts.values())
    told = ", ".join(
        f"{counts[word]} {said}"
        for word, said in (
            ("agrees", "agree with it"), ("above", "lie above it"), ("below", "lie below it"),
            ("undecided", "undecided"),
        )
        if counts[word]
    )  # fmt: skip
    yield f"Of {len(table.verdicts)} cells held against a published figure: {told}."


def _compared(table: Table) -> Iterator[str]:
    """Each row by what its comparisons with the reference show; the controls last."""
    shown = table.against_reference()
    if not shown or table.reference is None:
        return
    if not table.outcomes:
        yield f"{table.reference} is compared with other methods, on too few seeds for a test."
        return
    tested = [it for it in shown if it.place in table.outcomes]
    for controls in (False, True):
        some = [it for it in tested if (_other(table, it) in table.controls) == controls]
        if some:
            yield _told(table, some, "its controls" if controls else "the other methods")


def _other(table: Table, it: Comparison) -> str:
    return it.minuend if it.subtrahend == table.reference else it.subtrahend


def _told(table: Table, some: Sequence[Comparison], whom: str) -> str:
    """`Ours against the other methods (paired, 5 % over the table): better than CNN (C4); …`."""
    by_word: dict[str, dict[str, list[str]]] = {}
    for it in some:
        word = str(table.outcomes[it.place].word)
        if it.minuend != table.reference:  # the outcome is of the other one
            turned = {"better": "worse", "worse": "better", "higher": "lower", "lower": "higher"}
            word = turned.get(word, word)
        by_word.setdefault(word, {}).setdefault(_other(table, it), []).append(it.column)
    parts = []
    every = {it.column for it in some}
    for word in ("better", "worse", "higher", "lower"):
        if word in by_word:
            parts.append(f"{word} than {_listed(by_word[word], every)}")
    undecided = sum(map(len, by_word.get("undecided", {}).values()))
    if undecided == len(some):
        of = f" in any of {undecided} comparisons" if undecided > 1 else ""
        parts.append(f"not told apart{of}")
    elif undecided:
        parts.append(f"not told apart in {undecided} of {len(some)} comparisons")
    return f"{table.reference} against {whom}: {'; '.join(parts)}."


def _listed(found: dict[str, list[str]], every: Iterable[str]) -> str:
    """Rows, with the columns where it is not all of those that were compared."""
    names = [
        row if set(columns) == set(every) else f"{row} ({', '.join(columns)})"
        for row, columns in found.items()
    ]
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
