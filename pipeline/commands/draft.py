"""Look at runs that somebody's own code has tracked, and write a search space for their table.

Example: equigrid draft cifar-sweep --store sqlite:///mlflow.db -o cifar.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Root
from equigrid.errors import InputError
from equigrid.external_runs.draft import draft as written
from equigrid.external_runs.opened import looked_at
from equigrid.files import write_atomically
from equigrid.planning.workspace import Workspace


def draft(
    experiments: Annotated[
        list[str], typer.Argument(help="MLflow experiments (names or ids), or one CSV file.")
    ],
    store: Annotated[
        str | None,
        typer.Option(help="MLflow's address; default: MLFLOW_TRACKING_URI, then the workspace."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else it is printed.")
    ] = None,
    workspace: Root = WORKSPACE,
) -> None:
    if output is not None and output.exists():
        raise InputError(f"{output}: is there already; name another file")
    runs, where = looked_at(experiments, store, Workspace(workspace))
    text = written(runs, where, ", ".join(Path(it).stem for it in experiments))
    if output is None:
        print(text, end="")
        return
    write_atomically(output, text)
    console.print(
        f"{output}: fill in what it calls CHOOSE, check what it marks with ?, then "
        f"`equigrid tables {output}`", highlight=False, soft_wrap=True,
    )  # fmt: skip
