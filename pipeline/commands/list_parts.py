"""List what a search space can name: parts with their settings, groups, packaged search spaces.

Example: equigrid list

Example: equigrid list models

Example: equigrid list training
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.commands.output import console
from equigrid.config.catalogue import KINDS, Entry, catalogue, markdown
from equigrid.errors import InputError

Kind = Annotated[str | None, typer.Argument(help="One of: " + ", ".join(KINDS) + ".")]


def list_parts(
    kind: Kind = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As docs/reference.md.")] = False,
) -> None:
    if kind is not None and kind not in KINDS:
        raise InputError(f"no kind {kind!r}; there are: {', '.join(KINDS)}")
    kinds = [kind] if kind else list(KINDS)
    if as_markdown:
        console.print(markdown(kinds), markup=False, highlight=False, soft_wrap=True)
        return
    for each in kinds:
        console.print(_shown(each, catalogue(each), with_settings=kind is not None))


def _shown(kind: str, entries: list[Entry], *, with_settings: bool) -> RichTable:
    shown = RichTable(title=KINDS[kind], title_justify="left", box=None, padding=(0, 2, 0, 0))
    shown.add_column("name", no_wrap=True)
    shown.add_column("what")
    for entry in entries:
        shown.add_row(f"[bold]{escape(entry.name)}[/]", escape(entry.what))
        for setting in entry.settings if with_settings else ():
            shown.add_row(f"  {escape(setting.name)}", f"[dim]{escape(setting.text)}[/]")
    return shown
