"""Assemble the table again from what is finished.

Example: equigrid tables quickstart --from-mlflow
"""

from __future__ import annotations

from typing import Annotated

import typer

from equigrid.commands import external
from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, end, open_ledger, show_table
from equigrid.stages import tables as stage


def tables(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    from_mlflow: Annotated[
        bool, typer.Option("--from-mlflow", help="From the tracked runs alone, no local record.")
    ] = False,
) -> None:
    if (runs := external.opened(name, profile, workspace)) is not None:
        external.tables(runs, workspace)
        return
    ledger = open_ledger(name, profile, workspace)
    found = ledger.from_mlflow() if from_mlflow else ledger.known()
    show_table(stage.tables(found, ledger.workspace))
    folder = ledger.workspace.tables(ledger.experiment.full_name)
    console.print(f"written to {folder}", highlight=False)
    end(found)
