"""Write the table, its curves, grids and origin as one HTML page, its figures as PDF too.

Example: equigrid report quickstart -o report
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands import external
from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, open_ledger
from equigrid.reporting.assembly import assemble


def report(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder; by default in the workspace.")
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    if (runs := external.opened(name, profile, workspace)) is not None:
        external.report(runs, output, workspace)
        return
    from equigrid.reporting.page.content import report as write

    ledger = open_ledger(name, profile, workspace)
    plan = ledger.known()
    folder = output or ledger.workspace.report(ledger.experiment.full_name)
    page, *figures = write(plan, assemble(plan), ledger.workspace, folder)
    console.print(f"{page}, and {len(figures)} figures as PDF", highlight=False, soft_wrap=True)
