"""What commands do with a search space that has `runs:`: it reads tracked runs, and trains none."""

from __future__ import annotations

from pathlib import Path

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import ERROR, GAPS, show_table, warn
from equigrid.external_runs.opened import RunsTable, holds_runs, open_runs
from equigrid.planning.ledger import place_of
from equigrid.planning.workspace import Workspace


def opened(name: str, profile: str | None, workspace: Path) -> RunsTable | None:
    """None where the search space is one that trains."""
    here = Workspace(workspace)
    name = place_of(name, profile, here)
    return open_runs(name, profile, here) if holds_runs(name) else None


def tables(table: RunsTable, workspace: Path) -> None:
    show_table(table.assembled)
    console.print(f"written to {table.write(Workspace(workspace))}", highlight=False)
    _end(table)


def status(table: RunsTable) -> None:
    from equigrid.external_runs.shown import status as parts_of

    for part in parts_of(table):
        console.print(part, highlight=False)
    _end(table)


def show(table: RunsTable, what: str) -> None:
    from equigrid.external_runs.shown import show as parts_of

    for part in parts_of(table, what):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


def report(table: RunsTable, folder: Path | None, workspace: Path) -> None:
    from equigrid.external_runs.page import report as write

    table.write(Workspace(workspace))
    page, *figures = write(table, folder or Workspace(workspace).report(table.name))
    console.print(f"{page}, and {len(figures)} figures as PDF", highlight=False, soft_wrap=True)


def verify(name: str, profile: str | None, workspace: Path, *, repair: bool) -> None:
    """Read the store again past every cache, and hold the written files against it."""
    from equigrid.external_runs.checking import differences

    place = Workspace(workspace)
    fresh = open_runs(name, profile, place, fresh=True)
    found = list(differences(fresh, place))
    for text in found:
        warn(text)
    if repair and found:
        fresh.write(place)
        console.print("written anew", highlight=False)
        found = list(differences(fresh, place))
    cells, runs = len(fresh.assembled.cells), len(fresh.collection.entries)
    told = f"{len(found)} differences" if found else "all as written"
    console.print(f"{runs} runs read again and {cells} cells: {told}", highlight=False)
    if found:
        raise typer.Exit(ERROR)


def _end(table: RunsTable) -> None:
    """Exit with 3 and the cells' names where the table is not whole."""
    gaps = [f"{' / '.join(place)}: {cell.gap}" for place, cell in table.assembled.cells.items()
            if not cell.is_whole]  # fmt: skip
    for text in gaps:
        warn(f"gap: {text}")
    if gaps:
        raise typer.Exit(GAPS)
