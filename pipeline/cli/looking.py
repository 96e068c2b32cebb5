"""Commands that show what there is, and whether this machine is ready."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from equigrid.cli.app import (
    ERROR,
    GAPS,
    WORKSPACE,
    Name,
    Profile,
    Root,
    app,
    end,
    open_ledger,
    show_table,
    warn,
)
from equigrid.cli.output import console
from equigrid.errors import InputError

#: Between two looks of `status --watch`.
WATCH_SECONDS = 2.0


@app.command()
def plan(name: Name, profile: Profile = None, workspace: Root = WORKSPACE) -> None:
    """Say what a run would do: cells, trials, what is finished, what is missing, how long.

    Example: equigrid plan ddmnist --profile small
    """
    from equigrid.commands.forecast import forecast

    for part in forecast(open_ledger(name, profile, workspace)):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


@app.command()
def status(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until it is complete.")] = False,
) -> None:
    """Show what each cell has, what it misses, and why; exit code 3 while something is missing.

    Example: equigrid status quickstart --watch
    """
    from rich.console import Group
    from rich.live import Live

    from equigrid.cli import external
    from equigrid.commands.status import status as parts_of

    if (runs := external.opened(name, profile, workspace)) is not None:
        if watch:
            raise InputError("--watch: a table of tracked runs trains nothing to be watched")
        external.status(runs)
        return
    ledger = open_ledger(name, profile, workspace)
    plan = ledger.known()
    shown = parts_of(plan, ledger.workspace)
    if watch:
        with Live(Group(*shown), console=console, auto_refresh=False) as live:
            while not plan.is_complete:
                time.sleep(WATCH_SECONDS)
                ledger.reread()
                plan = ledger.known()
                live.update(Group(*parts_of(plan, ledger.workspace)), refresh=True)
    else:
        for part in shown:
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    if not plan.is_complete:
        raise typer.Exit(GAPS)


@app.command()
def show(
    name: Name,
    what: Annotated[str, typer.Argument(help="ROW/COLUMN, an MLflow run id, or a run key.")],
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Go from a cell to its runs, configuration, data and environment; or from a run to its cells.

    Example: equigrid show quickstart "Ours/C4"
    """
    from equigrid.cli import external
    from equigrid.commands.show import show as parts_of

    if (runs := external.opened(name, profile, workspace)) is not None:
        external.show(runs, what)
        return
    ledger = open_ledger(name, profile, workspace)
    for part in parts_of(ledger.known(), ledger.workspace, what):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


@app.command()
def analyse(
    name: Name,
    what: Annotated[
        str | None,
        typer.Argument(
            help="ROW/COLUMN, a run key or an MLflow run id; else one seed of each row."
        ),
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Find which linear action of the group the latent of a trained network carries.

    Beside an untrained network and shuffled orbits; kept for the report, and in MLflow.

    Example: equigrid analyse quickstart "Ours/C4"
    """
    from equigrid.commands.analyse import analysed, shown, wanted
    from equigrid.reporting.assembly import assemble
    from equigrid.stages.tables import report as write_report

    ledger = open_ledger(name, profile, workspace)
    found = ledger.known()
    for record, split in wanted(ledger, found, what):
        for part in shown(record, analysed(ledger, record, split)):
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    if fault := write_report(found, assemble(found), ledger.workspace):
        warn(fault)


@app.command()
def embed(
    run: Annotated[str, typer.Argument(help="An MLflow run id, or a run key (its beginning).")],
    inputs: Annotated[Path, typer.Argument(help="An .npz file of new inputs.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: INPUTS.embedded.npz.")
    ] = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Put new inputs through a trained network: their latents z, as an .npz file.

    Example: equigrid embed 3f2a9c41 digits.npz
    """
    from equigrid.commands.embed import embed as latents_of
    from equigrid.commands.embed import opened, write
    from equigrid.planning.find_run import find_record
    from equigrid.planning.workspace import Workspace

    place = Workspace(workspace)
    record = find_record(place, run)
    found = latents_of(opened(place, record), inputs)
    target = output or inputs.with_name(f"{inputs.stem}.embedded.npz")
    write(target, found)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
    console.print(f"{target}: {shapes}, by {record.trial.describe()}", highlight=False,
                  markup=False, soft_wrap=True)  # fmt: skip


@app.command()
def tables(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    from_mlflow: Annotated[
        bool, typer.Option("--from-mlflow", help="From the tracked runs alone, no local record.")
    ] = False,
) -> None:
    """Assemble the table again from what is finished.

    Example: equigrid tables quickstart --from-mlflow
    """
    from equigrid.cli import external
    from equigrid.stages import tables as stage

    if (runs := external.opened(name, profile, workspace)) is not None:
        external.tables(runs, workspace)
        return
    ledger = open_ledger(name, profile, workspace)
    found = ledger.from_mlflow() if from_mlflow else ledger.known()
    show_table(stage.tables(found, ledger.workspace))
    folder = ledger.workspace.tables(ledger.experiment.full_name)
    console.print(f"written to {folder}", highlight=False)
    end(found)


@app.command()
def report(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder; by default in the workspace.")
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Write the table, its curves, grids and origin as one HTML page, its figures as PDF too.

    Example: equigrid report quickstart -o report
    """
    from equigrid.cli import external
    from equigrid.reporting.assembly import assemble
    from equigrid.reporting.page.content import report as write

    if (runs := external.opened(name, profile, workspace)) is not None:
        external.report(runs, output, workspace)
        return
    ledger = open_ledger(name, profile, workspace)
    plan = ledger.known()
    folder = output or ledger.workspace.report(ledger.experiment.full_name)
    page, *figures = write(plan, assemble(plan), ledger.workspace, folder)
    console.print(f"{page}, and {len(figures)} figures as PDF", highlight=False, soft_wrap=True)


@app.command()
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
    """Look at runs that somebody's own code has tracked, and write a search space for their table.

    Example: equigrid draft cifar-sweep --store sqlite:///mlflow.db -o cifar.yaml
    """
    from equigrid.cli import external

    external.draft(experiments, store, output, workspace)


@app.command()
def ui(
    workspace: Root = WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the workspace's store, on localhost only. Ends with Ctrl-C.

    Example: equigrid ui --port 5001
    """
    from equigrid.planning.workspace import Workspace

    place = Workspace(workspace)
    store = place.store("")
    if store.is_server:
        raise InputError(f"{store.uri} (MLFLOW_TRACKING_URI) has pages of its own: open them there")
    if store.database is not None and not store.database.exists():
        raise InputError(f"{store.database}: nothing is tracked here yet; run a search space first")
    from equigrid.errors import StoreError
    from equigrid.tracking.database import follow_move

    try:
        follow_move(store)
    except StoreError as error:
        raise InputError(str(error)) from error
    _check_port(port)
    console.print(f"MLflow UI: http://127.0.0.1:{port}", highlight=False)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--default-artifact-root", place.artifact_folder.as_uri(), "--workers", "1",
    ]  # fmt: skip
    # Not among the arguments, which every user of this machine can read: it may have a password.
    os.execve(sys.executable, command, os.environ | {"MLFLOW_BACKEND_STORE_URI": store.uri})


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers take one again
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"--port {port}: cannot be had at 127.0.0.1 ({error.strerror}); name another"
            ) from None


@app.command()
def doctor(
    name: Annotated[str | None, typer.Argument(help="Also check a search space's data.")] = None,
    workspace: Root = WORKSPACE,
    repair_store: Annotated[
        bool,
        typer.Option(
            "--repair-store",
            help="Only write the workspace's MLflow file anew from its records; the old is kept.",
        ),
    ] = False,
) -> None:
    """Check versions, raw data, disk, MLflow, Ray and GPU; say what to do about each problem.

    Example: equigrid doctor ddmnist
    """
    if repair_store:
        from equigrid.exchange.importing import rebuild_store
        from equigrid.planning.workspace import Workspace

        aside, count = rebuild_store(Workspace(workspace))
        kept = f"; the old store is {aside}" if aside else ""
        console.print(f"{count} records tracked anew{kept}", highlight=False, soft_wrap=True)
        return
    from equigrid.commands.doctor import examine

    if not examine(name, workspace, console):
        raise typer.Exit(ERROR)


@app.command()
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
    """Lay two experiments side by side: profiles, search spaces, or one in two workspaces.

    Where both have a cell by the same seeds, their difference is paired.

    Example: equigrid compare ddmnist:small ddmnist

    Example: equigrid compare quickstart quickstart --other-workspace /data/before
    """
    from equigrid.commands.compare import as_csv, open_side, shown
    from equigrid.commands.compare import compare as lines_of
    from equigrid.planning.workspace import Workspace

    a = open_side(first, Workspace(workspace))
    b = open_side(second, Workspace(other or workspace))
    lines = lines_of(a, b)
    for part in shown(a, b, lines):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))
    if output is not None:
        output.write_text(as_csv(lines), "utf-8")
