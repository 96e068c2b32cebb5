"""Add records from elsewhere to the workspace and to MLflow; all files are checked first.

Example: equigrid import quickstart.equigrid

Example: equigrid import results/*.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Root
from equigrid.exchange import importing
from equigrid.planning.workspace import Workspace


def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="Record files (JSON) and bundles of equigrid export.")
    ],
    workspace: Root = WORKSPACE,
) -> None:
    added, known = importing.import_files(files, Workspace(workspace))
    console.print(f"{added} records added, {known} known already", highlight=False)
