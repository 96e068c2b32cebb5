"""The table of a collection of runs, with notes that say by which rules it was made."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator

from equigrid.external_runs.collection import TIE, Collection
from equigrid.external_runs.identity import Arm, Point, plain
from equigrid.reporting.assembly import compared, noted
from equigrid.reporting.controls import with_reference
from equigrid.reporting.style import Style
from equigrid.reporting.table import Cell, Table, published_table
from equigrid.reporting.verdicts import Question
from equigrid.trial import point_text, symbol

ON_TEST = "was selected on the test metric that it shows"


def table_of(found: Collection, name: str) -> Table:
    """Cells, verdicts, paired differences and notes."""
    space = found.space
    cells = {
        (found.label(row), column): _cell(found, row, column)
        for row, column in itertools.product(found.rows, space.columns)
    }
    rows = tuple(map(found.label, found.rows))
    table = Table(
        name=name,
        title=space.title or name,
        rows=rows,
        columns=tuple(space.columns),
        trivial_rows=frozenset(),
        higher_is_better={n: it.higher_is_better for n, it in space.columns.items()},
        cells=cells,
        notes=(),
        external=True,
        reference=_reference(found, rows),
    )
    questions = {
        place: Question(cell.values, cell.published, space.columns[place[1]].margin)
        for place, cell in cells.items()
        if cell.published is not None and cell.is_whole
    }
    table = compared(table, questions, _pairs(found, rows))
    return noted(table, _notes(found, table), (), space.notes)


def _pairs(found: Collection, rows: tuple[str, ...]) -> list[tuple[str, str]]:
    if found.space.runs.seed is None:
        return []  # nothing says which runs belong together
    pairs = with_reference(
        rows, _reference(found, rows), is_named=found.space.reference is not None
    )
    known = set(map(frozenset, pairs))
    return pairs + [
        (later, earlier)
        for earlier, later in itertools.combinations(rows, 2)
        if {earlier, later} not in known
    ]


def _reference(found: Collection, rows: tuple[str, ...]) -> str | None:
    """The row that the others are shown against: as the search space has it, or the last one."""
    if found.space.reference is not None:
        return found.label(found.space.reference)
    return rows[-1] if rows else None


def _cell(found: Collection, row: str, name: str) -> Cell:
    space, column = found.space, found.space.columns[name]
    arm = (row, column.dataset or "")
    finals = found.finals.get(arm, {})
    values = {
        seed: finals[seed].cells[name] for seed in sorted(finals) if name in finals[seed].cells
    }
    wanted = found.wanted["final"][arm]
    on_test = space.runs.select is not None and space.runs.select.metric == column.metric
    return Cell(
        dataset=column.dataset or "",
        split="",
        metric=column.metric,
        values=tuple(values.values()),
        wanted=len(wanted),
        gap=_gap(found, arm, len(values)),
        point=dict(found.choices[arm].point or ()),
        latents={},
        parameters=None,
        published=published_table(space.published or {}).get(row, {}).get(name),
        seeds=tuple(values),
        doubts=(f"{found.label(row)} / {name} {ON_TEST}",) if on_test else (),
        style=Style(
            decimals=column.decimals if column.decimals is not None else _decimals(found, name)
        ),
    )


def _gap(found: Collection, arm: Arm, tested: int) -> str:
    """Why a cell is not whole; empty where it is."""
    wanted, choice = len(found.wanted["final"][arm]), found.choices[arm]
    if not any(entry.arm == arm for entry in found.entries):
        return "no run"
    if choice.point is None:
        return "no point with all its seeds" if choice.candidates else "no run that counts"
    return "" if tested == wanted else f"{tested}/{wanted} seeds"


def _decimals(found: Collection, column: str) -> int | None:
    """Three of scores about 1, two of per cents; as many digits as matter of what is smaller."""
    values = [
        abs(entry.cells[column])
        for finals in found.finals.values()
        for entry in finals.values()
        if column in entry.cells
    ]
    largest = max(values, default=1.0)
    if largest >= 10:
        return 2
    return 3 if largest >= 0.05 else None


# Notes


def _notes(found: Collection, table: Table) -> Iterator[str]:
    space, runs = found.space, found.space.runs
    metrics = ", ".join(
        metric if better else f"{metric} (lower is better)"
        for metric, better in dict.fromkeys(
            (it.metric, it.higher_is_better) for it in space.columns.values()
        )
    )
    yield (
        f"Test {metrics}: mean (population standard deviation), n seeds, of runs that were not "
        f"made here: {found.source}."
    )
    yield _which_scores(found)
    yield from _selection(found)
    yield f"Seeds: {_seeds(found)}."
    yield _accounted(found)
    if runs.duplicates == "newest":
        yield "Of several runs of one row, dataset, point and seed the newest counts."
    if found.other:
        yield f"Not looked at, though it varies: {', '.join(found.other)}."
    if runs.ignore:
        yield f"Named as of no importance: {', '.join(map(plain, runs.ignore))}."
    for key, value in runs.missing.items():
        yield f"A run without {plain(key)} counts as {plain(key)} {value}."
    if runs.inherit:
        yield "A run has its parent's parameters where it has none of its own."
    for old, new in runs.rename.items():
        yield f"{plain(old)} is read as {plain(new)}."
    if left := _rows_left_out(found):
        yield f"Rows that runs have and the table has not: {', '.join(left)}."
    for (row, dataset), choice in found.choices.items():
        place = " / ".join(filter(None, (found.label(row), dataset)))
        if choice.point and choice.score is not None and runs.select is not None:
            count = sum(it.score is not None for it in choice.candidates)
            apart = len(choice.candidates) - count
            more = f"; {apart} without all seeds" if apart else ""
            yield (
                f"{place}: {_in_words(choice.point)} (best of {count} by {runs.select.metric}, "
                f"{choice.score:.4f}{more})"
            )
        elif choice.point:
            yield f"{place}: {_in_words(choice.point)} (the only point)"
    if space.published:
        yield "Published figures: as the search space gives them."
        yield (
            "Verdicts, at 5 % over the whole table (Holm): agrees = within the column's margin by "
            "two one-sided Welch tests; above, below = differs by Welch's test; else undecided. A "
            "column without a margin never agrees."
        )


def _in_words(point: Point) -> str:
    return ", ".join(
        f"{symbol(name)} {value if isinstance(value, str) else f'{value:g}'}"
        for name, value in point
    )


def _which_scores(found: Collection) -> str:
    runs = found.space.runs
    if runs.select is None or runs.scores_at == "last":
        return "Scores: the value of each run's highest step."
    where = "best" if runs.select.at == "best" else "last"
    text = f"Scores: at the step with the {where} {runs.select.metric} of each run"
    if not found.once:
        return f"{text}."
    number = "all" if found.once == found.tests else f"{found.once} of {found.tests}"
    return (
        f"{text}; {number} were logged once for a run, and are of whatever weights that run tested."
    )


def _selection(found: Collection) -> Iterator[str]:
    runs = found.space.runs
    if runs.select is None or not runs.searched:
        return
    best = "highest" if runs.select.mode == "max" else "lowest"
    names = [plain(key) for key in runs.searched]
    whole = (
        "points that lack seeds compete by those that they have"
        if runs.incomplete == "use"
        else "a point counts with all its seeds only"
    )
    yield (
        f"Selection, per row and dataset over {', '.join(names)}: the {best} mean over seeds of "
        f"the {runs.select.at} {runs.select.metric}; {whole}; within {TIE:g} of it, relatively, "
        f"the lower {', then the lower '.join(names)}. "
        + (
            "Cells whose own metric selects are marked: their scores flatter."
            if runs.selection == "on_test"
            else "No column's metric plays a part."
        )
    )


def _seeds(found: Collection) -> str:
    space = found.space
    if space.runs.seed is None:
        return (
            "no key says which; runs of a point are counted in the order in which they began, and "
            "differences are not paired"
        )
    final, grid = space.seeds.final, space.seeds.grid
    if final is None:
        named = "of each row and dataset those that any of its runs has"
    else:
        named = f"{', '.join(map(str, final))} are wanted"
    return named + (f"; {', '.join(map(str, grid))} select" if grid is not None else "")


def _accounted(found: Collection) -> str:
    counts = [f"{len(them)} {fate}" for fate, them in found.fates().items()]
    kept = " or ".join(found.space.runs.statuses)
    return (
        f"Of {len(found.entries)} runs: {', '.join(counts)}; runs count with status {kept}. "
        "runs.csv lists each."
    )


def _rows_left_out(found: Collection) -> list[str]:
    named = (
        ", ".join(value for it in found.space.runs.row if (value := entry.value(it)) is not None)
        for entry in found.entries
        if entry.fate == "row not in the table"
    )
    return sorted(set(named))


def runs_csv(found: Collection) -> str:
    """One line a run: what it is of, what it scored, and what became of it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = list(dict.fromkeys(map(plain, found.space.runs.searched)))
    writer.writerow((
        "run", "experiment", "run_name", "status", "row", "dataset", *names, "seed", "selected_by",
        "step", *found.space.columns, "what_became_of_it",
    ))  # fmt: skip
    for entry in found.entries:
        row, dataset = entry.arm or ("", "")
        point = dict(entry.point or ())
        line = (
            entry.run.id, entry.run.experiment, entry.run.name, entry.run.status, row, dataset,
            *(point.get(name) for name in names), entry.seed, entry.score, entry.step,
            *(entry.cells.get(name) for name in found.space.columns), entry.fate,
        )  # fmt: skip
        writer.writerow(["" if it is None else it for it in line])
    return buffer.getvalue()


def point_of(point: Point | None) -> str:
    """`lr=0.001 λ=1`; a dash where nothing was searched."""
    return point_text(dict(point)) if point else "–"
