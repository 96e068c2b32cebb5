"""A table of tracked runs on the terminal: what each cell has, and what became of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.errors import InputError
from equigrid.external_runs.cells import point_of
from equigrid.external_runs.collection import Candidate
from equigrid.external_runs.identity import Arm, Entry
from equigrid.external_runs.opened import RunsTable
from equigrid.reporting import formats

#: Ids that a line has before it says how many more there are; points of a cell.
LISTED = 8


def status(table: RunsTable) -> Iterator[RenderableType]:
    """Each cell with its point and seeds, then every run by what became of it."""
    found, assembled = table.collection, table.assembled
    cells = _lines(assembled.title, ("cell", "selected", "seeds", "score"))
    for (row, column), cell in assembled.cells.items():
        seeds = f"{len(cell.values)}/{cell.wanted}"
        if missing := _missing(table, row, column):
            seeds += f", missing {', '.join(map(str, missing))}"
        line = (
            f"{row} / {column}",
            point_of(tuple(cell.point.items())),
            seeds,
            formats.score(cell),
        )
        cells.add_row(*map(escape, line))
    yield cells
    fates = _lines(
        f"{len(found.entries)} runs of {found.source}", ("what became of it", "n", "runs")
    )
    for fate, entries in found.fates().items():
        fates.add_row(escape(fate), str(len(entries)), escape(_ids(entries)))
    yield fates


def _missing(table: RunsTable, row: str, column: str) -> list[int]:
    arm = _arm(table, row, column)
    wanted = table.collection.wanted["final"][arm]
    return [seed for seed in wanted if seed not in table.assembled.cells[row, column].seeds]


def _arm(table: RunsTable, row: str, column: str) -> Arm:
    """Of a cell, by its names in the table."""
    found = table.collection
    value = next(it for it in found.rows if found.label(it) == row)
    return value, table.space.columns[column].dataset or ""


def _ids(entries: Sequence[Entry]) -> str:
    shown = [entry.run.id for entry in entries[:LISTED]]
    more = [f"{len(entries) - LISTED} more"] if len(entries) > LISTED else []
    return ", ".join(shown + more)


def _lines(title: str, headings: Sequence[str]) -> RichTable:
    made = RichTable(title=escape(title), title_justify="left")
    for heading in headings:
        made.add_column(heading)
    return made


def show(table: RunsTable, what: str) -> Iterator[RenderableType]:
    """A cell as ROW/COLUMN with its runs, or a run by the beginning of its id with its cell."""
    row, slash, column = (part.strip() for part in what.partition("/"))
    cells = table.assembled.cells
    if (row, column) in cells:
        yield from _cell(table, row, column)
        return
    entries = [it for it in table.collection.entries if it.run.id.startswith(what)]
    if len(entries) == 1:
        yield from _run(table, entries[0])
    elif entries:
        raise InputError(f"{what}: {len(entries)} runs begin with this; give more of it")
    elif slash:
        names = ", ".join(f"{r}/{c}" for r, c in list(cells)[:LISTED])
        raise InputError(f"{what!r}: no such cell, and no such run; cells are: {names}")
    else:
        raise InputError(f"{what!r}: no run of {table.collection.source} begins with this")


def _cell(table: RunsTable, row: str, column: str) -> Iterator[RenderableType]:
    found, cell, arm = (
        table.collection,
        table.assembled.cells[row, column],
        _arm(table, row, column),
    )
    yield f"[bold]{escape(f'{row} / {column}')}[/]  {escape(formats.score(cell))}"
    if cell.published is not None:
        difference = formats.difference(table.assembled, row, column)
        yield escape(f"published {formats.published(cell)}, difference {difference}")
    choice, select = found.choices[arm], table.space.runs.select
    if choice.candidates and select is not None:
        points = _lines("points", ("point", f"mean {select.metric}", "seeds"))
        for candidate in choice.candidates[:LISTED]:
            chosen = " (selected)" if candidate.point == choice.point else ""
            line = (point_of(candidate.point) + chosen, _score(candidate),
                    f"{len(candidate.seeds)}/{candidate.wanted}")  # fmt: skip
            points.add_row(*map(escape, line))
        yield points
        if len(choice.candidates) > LISTED:
            yield f"and {len(choice.candidates) - LISTED} more points; runs.csv has their runs"
    finals = _lines("runs", ("seed", cell.metric, "step", "run", "name"))
    for seed, entry in sorted(found.finals.get(arm, {}).items()):
        value, run = entry.cells.get(column), entry.run
        texts = (seed, formats.DASH if value is None else value,
                 formats.DASH if entry.step is None else entry.step, run.id, run.name)  # fmt: skip
        finals.add_row(*(escape(str(it)) for it in texts))
    yield finals
    for text in cell.doubts:
        yield escape(f"{formats.DOUBT} {text}")


def _score(candidate: Candidate) -> str:
    return "not all seeds" if candidate.score is None else f"{candidate.score:.6g}"


def _run(table: RunsTable, entry: Entry) -> Iterator[RenderableType]:
    run = entry.run
    yield f"[bold]{escape(run.id)}[/]  {escape(run.name)}"
    yield escape(
        f"experiment {run.experiment}, status {run.status}" + (f", {run.url}" if run.url else "")
    )
    if entry.arm is not None:
        place = " / ".join(filter(None, (table.collection.label(entry.arm[0]), entry.arm[1])))
        yield escape(f"{place}  {point_of(entry.point)}  seed {entry.seed}")
    yield escape(f"what became of it: {entry.fate}")
    select = table.space.runs.select
    if entry.score is not None and select is not None:
        yield escape(f"selected by {select.metric} {entry.score!r}")
    if entry.step is not None:
        yield f"step {entry.step}"
    for column, value in entry.cells.items():
        assert entry.arm is not None
        yield escape(f"{table.collection.label(entry.arm[0])}/{column}: {value!r}")
