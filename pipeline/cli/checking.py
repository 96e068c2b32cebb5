"""Commands that check tracked runs, and exchange them between machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equigrid.cli.app import ERROR, WORKSPACE, Name, Profile, Root, app, open_ledger, warn
from equigrid.cli.output import console


@app.command()
def verify(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    mend: Annotated[
        bool, typer.Option("--repair", help="Write what differs anew, from the records.")
    ] = False,
) -> None:
    """Recompute every cell from run records and hold every run in MLflow against its record.

    Of a table of tracked runs the store is read again, and what was written held against it.

    Example: equigrid verify quickstart --repair
    """
    from equigrid.cli import external
    from equigrid.external_runs.opened import holds_runs

    if holds_runs(name):
        external.verify(name, profile, workspace, repair=mend)
        return
    from equigrid.commands.verify import repair
    from equigrid.commands.verify import verify as examine
    from equigrid.stages import tables as stage

    ledger = open_ledger(name, profile, workspace)
    found = examine(ledger)
    for finding in found.findings:
        warn(f"{finding.subject}: {finding.text}")
    if mend and found.findings:
        console.print(f"{repair(ledger, found)} runs written anew", highlight=False)
        ledger.reread()
        stage.tables(ledger.known(), ledger.workspace)
        found = examine(ledger)
        for finding in found.findings:
            warn(f"still: {finding.subject}: {finding.text}")
    for text in found.unknown:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{found.runs} runs and {found.cells} cells: "
        + (f"{len(found.findings)} do not match" if found.findings else "all match")
        + f"; weights of {found.weights.read} trainings read, {found.weights.size / 1e6:.1f} MB"
        + (f", of {found.weights.absent} not here" if found.weights.absent else ""),
        highlight=False,
    )
    if found.findings:
        raise typer.Exit(ERROR)


@app.command()
def replay(
    run: Annotated[str, typer.Argument(help="An MLflow run id, or a run key (its beginning).")],
    workspace: Root = WORKSPACE,
    from_record: Annotated[
        bool,
        typer.Option("--recorded-code", help="Run its own parts from the sources in its record."),
    ] = False,
) -> None:
    """Train a tracked run again from its record alone, and compare every number.

    Example: equigrid replay 3f2a9c41
    """
    from equigrid.commands.replay import TOLERANCE, Replay
    from equigrid.commands.replay import replay as steps_of
    from equigrid.planning.find_run import find_record
    from equigrid.planning.workspace import Workspace

    place = Workspace(workspace)
    record = find_record(place, run)
    console.print(f"{record.trial.role}  {record.trial.describe()}", highlight=False, markup=False)
    for step in steps_of(record, place, from_record=from_record):
        if not isinstance(step, Replay):
            console.print(step, highlight=False, markup=False, soft_wrap=True)
            continue
        for text in step.differences:
            warn(text)
        if step.bitwise:
            console.print("bitwise equal")
            continue
        stack = "on the same stack" if step.same_stack else "on another stack"
        if step.untold:
            stack = f"and the record does not tell whether on the same stack ({step.untold[0]})"
        console.print(
            f"not bitwise equal, {stack}; scores of the best epoch differ by at most "
            f"{step.largest:.4g} (allowed on another stack: {TOLERANCE:g})",
            highlight=False,
        )
        if not step.agrees:
            raise typer.Exit(ERROR)


@app.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Write what is finished of an experiment into one file, for `import` elsewhere.

    The bundle holds its records, its table as last written and its search space, with hashes.

    Example: equigrid export quickstart -o quickstart.equigrid
    """
    from equigrid.exchange.exporting import export as write

    count = write(open_ledger(name, profile, workspace), output)
    console.print(f"{count} records written to {output}", highlight=False, soft_wrap=True)


@app.command("import")
def import_files(
    files: Annotated[
        list[Path], typer.Argument(help="Record files (JSON) and bundles of equigrid export.")
    ],
    workspace: Root = WORKSPACE,
) -> None:
    """Add records from elsewhere to the workspace and to MLflow; all files are checked first.

    Example: equigrid import quickstart.equigrid

    Example: equigrid import results/*.json
    """
    from equigrid.exchange.importing import import_files as take
    from equigrid.planning.workspace import Workspace

    added, known = take(files, Workspace(workspace))
    console.print(f"{added} records added, {known} known already", highlight=False)
