"""What commands share: their options, exit codes, and what several of them print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equigrid.commands.output import console

if TYPE_CHECKING:
    from equigrid.planning.ledger import Ledger
    from equigrid.planning.plan import Plan
    from equigrid.reporting.table import Table

Name = Annotated[str, typer.Argument(help="A search space: its name, or a path to its YAML file.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the search space.")]
Root = Annotated[
    Path, typer.Option("--workspace", envvar="EQUIGRID_WORKSPACE", help="Where everything lies.")
]
WORKSPACE = Path("workspace")

#: Exit codes; see `signals` for those of an interrupted command.
ERROR, BAD_INPUT, GAPS = 1, 2, 3


def open_ledger(name: str, profile: str | None, workspace: Path) -> Ledger:
    """An experiment, by the words of the command line, in its workspace."""
    from equigrid.config.experiment import load_experiment
    from equigrid.planning.ledger import Ledger
    from equigrid.planning.workspace import Workspace

    return Ledger(load_experiment(name, profile), Workspace(workspace))


def show_table(table: Table) -> None:
    from equigrid.reporting.terminal import terminal

    for part in terminal(table, console.width):
        console.print(part)
    for note in table.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """One line whatever the width of the terminal, so that it can be searched and copied."""
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def end(plan: Plan) -> None:
    """Exit with 3 and the gaps' names where the table is not whole."""
    if plan.is_complete:
        return
    for dataset, gap in plan.gaps.items():
        warn(f"gap: {dataset}: {gap.reason}")
    for text in plan.undefined_texts():
        warn(f"gap: {text}")
    for trial in {t.key: t for t in plan.all_trials() if plan.is_failed(t)}.values():
        reason = plan.failures[trial.key]
        warn(f"failed: {trial.describe()}: {reason}")
    for trial in plan.all_trials():
        if refusal := plan.refusal(trial):
            warn(f"MLflow refuses {trial.describe()} ({trial.role}): {refusal}")
    missing = len(plan.missing("grid")) + len(plan.missing("final"))
    if missing:
        warn(f"missing: {missing} trials")
    raise typer.Exit(GAPS)
