"""Lay two experiments side by side: profiles, search spaces, or one in two workspaces.

Where both have a cell by the same seeds, their difference is paired.

Example: equigrid compare ddmnist:small ddmnist

Example: equigrid compare quickstart quickstart --other-workspace /data/before
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Root
from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.external_runs.opened import holds_runs, open_runs
from equigrid.planning.ledger import Ledger, place_of
from equigrid.planning.workspace import Workspace
from equigrid.reporting import formats
from equigrid.reporting.assembly import assemble
from equigrid.reporting.comparison import Comparison
from equigrid.reporting.comparison import compare as paired
from equigrid.reporting.table import Cell, Table


def compare(
    first: Annotated[str, typer.Argument(help="NAME, or NAME:PROFILE.")],
    second: Annotated[str, typer.Argument(help="What to hold against it, written likewise.")],
    workspace: Root = WORKSPACE,
    other: Annotated[
        Path | None,
        typer.Option("--other-workspace", help="Where the second lies (of another commit, say)."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also as CSV, into this file.")
    ] = None,
) -> None:
    a = open_side(first, Workspace(workspace))
    b = open_side(second, Workspace(other or workspace))
    lines = lines_of(a, b)
    for part in shown(a, b, lines):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    if output is not None:
        output.write_text(as_csv(lines), "utf-8")


@dataclass(frozen=True)
class Side:
    """One of the two. origin: the commits its finals were trained at, and by which version."""

    name: str
    table: Table
    origin: str


@dataclass(frozen=True)
class Line:
    """A cell of either; difference: second − first, paired by the seeds that they share."""

    row: str
    column: str
    first: Cell | None
    second: Cell | None
    difference: Comparison | None


def open_side(text: str, workspace: Workspace) -> Side:
    """`NAME` or `NAME:PROFILE`, NAME as every command takes it."""
    name, _, profile = text.partition(":")
    name = place_of(name, profile or None, workspace)
    if holds_runs(name):
        runs = open_runs(name, profile or None, workspace)
        return Side(runs.name, runs.assembled, runs.collection.source)
    ledger = Ledger(load_experiment(name, profile or None), workspace)
    plan = ledger.known()
    if not plan.has_results:
        raise InputError(f"{text}: nothing is finished in {workspace.root}")
    finals = {t.key for trials in plan.finals.values() for t in trials if plan.is_finished(t)}
    records = [record for key in sorted(finals) if (record := workspace.record(key)) is not None]
    commits = dict.fromkeys(record.environment["git_commit"] for record in records)
    known = f"commit {', '.join(commits)}" if commits else "no record of a final here"
    version = f"training version {plan.experiment.training_version}"
    return Side(
        ledger.experiment.full_name, assemble(plan), f"{workspace.root}, {known}, {version}"
    )


def lines_of(first: Side, second: Side) -> list[Line]:
    """Cells by row and column, those of the first side before what only the second has."""
    places = dict.fromkeys((*first.table.cells, *second.table.cells))
    return [_line(first, second, *place) for place in places]


def _line(first: Side, second: Side, row: str, column: str) -> Line:
    a, b = first.table.cells.get((row, column)), second.table.cells.get((row, column))
    difference = None
    # What other code calls its metric is known to nobody but the reader: the column's name decides.
    theirs = first.table.external or second.table.external
    if a is None or b is None:
        return Line(row, column, a, b, None)
    if theirs or (a.split, a.metric) == (b.split, b.metric):
        difference = paired(
            second.name, dict(zip(b.seeds, b.values, strict=True)),
            first.name, dict(zip(a.seeds, a.values, strict=True)), column, min(a.wanted, b.wanted),
        )  # fmt: skip
    return Line(row, column, a, b, difference)


def shown(first: Side, second: Side, lines: list[Line]) -> Iterator[RichTable | str]:
    """For the terminal."""
    same = first.name == second.name
    names = [
        f"{side.name} ({n})" if same else side.name for n, side in enumerate((first, second), 1)
    ]
    table = RichTable()
    for heading in ("row", "column", *names, "second − first, paired, 95 % interval"):
        table.add_column(escape(heading))
    for line in lines:
        cells = (line.first, line.second)
        scores = [formats.DASH if it is None else formats.score(it) for it in cells]
        found = formats.interval(line.difference)
        table.add_row(*map(escape, (line.row, line.column, *scores, found)))
    yield table
    for name, side in zip(names, (first, second), strict=True):
        yield f"{name}: {side.origin}"


def as_csv(lines: list[Line]) -> str:
    """Numbers in full."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((
        "row", "column", "first_mean", "first_std", "first_n", "second_mean", "second_std",
        "second_n", "difference", "low", "high", "shared_seeds",
    ))  # fmt: skip
    for line in lines:
        numbers: list[object] = []
        for cell in (line.first, line.second):
            numbers += ["", "", 0] if cell is None else [cell.mean, cell.std, len(cell.values)]
        found = line.difference
        numbers += (
            ["", "", "", 0] if found is None else [found.mean, found.low, found.high, found.n]
        )
        writer.writerow((line.row, line.column, *("" if it is None else it for it in numbers)))
    return buffer.getvalue()
