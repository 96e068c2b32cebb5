"""equigrid's command line: thin, a function a command."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from pipeline import __version__
from pipeline.files import InputError

# Into a file or a pipe, lines are not cut at 80 characters.
console = Console() if sys.stdout.isatty() else Console(width=160)
log = logging.getLogger("equigrid")

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Hyperparameter grids, tracked runs and finished tables for approximately equivariant "
    "networks.\n\nExample: equigrid run quickstart",
)

Name = Annotated[str, typer.Argument(help="A search space: its name, or a path to its YAML file.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the search space.")]
Root = Annotated[
    Path, typer.Option("--workspace", envvar="EQUIGRID_WORKSPACE", help="Where everything lies.")
]
WORKSPACE = Path("workspace")

#: Between two looks of `status --watch`.
WATCH_SECONDS = 2.0

ERROR, BAD_INPUT, GAPS, INTERRUPTED = 1, 2, 3, 130


def _version(value: bool) -> None:
    if value:
        typer.echo(f"equigrid {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The options before a command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that were given up.")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One trial at a time, without Ray (debugging).")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="ROW/COLUMN: run what this cell misses.")
    ] = None,
) -> None:
    """Run the five stages to a finished table; what is finished is never run again.

    Example: equigrid run quickstart

    Example: equigrid run ddmnist --profile small --workspace /data/equigrid

    Example: equigrid run ddmnist --only "Ours/C4"
    """
    from pipeline.config import load_experiment
    from pipeline.orchestration.dispatch import Dispatcher
    from pipeline.orchestration.workspace import Workspace
    from stages.display import Display
    from stages.known import cell_named
    from stages.run import run as run_stages

    experiment = load_experiment(name, profile)
    space = Workspace(workspace)
    cells = [cell_named(experiment, text) for text in only or []]
    groups = {(row, experiment.space.columns[column].dataset) for row, column in cells}

    def dispatcher() -> Dispatcher:
        retries = experiment.space.retries
        if in_process:
            from pipeline.orchestration.in_process import InProcess

            return InProcess(space, retries)
        from pipeline.orchestration.ray_tune import RayTune

        return RayTune(space, retries, experiment.space.resources, experiment.folder)

    with Display(console) as display:
        plan, table, _ = run_stages(
            experiment,
            space,
            dispatcher,
            display,
            retry_failed=retry_failed,
            only=groups or None,
        )
    _show(table)
    if not cells or any(not table.cells[cell].is_whole for cell in cells):
        _end(plan)


def _show(table: object) -> None:
    from pipeline.reporting.formats import terminal
    from pipeline.reporting.table import Table

    assert isinstance(table, Table)
    for part in terminal(table):
        console.print(part)
    for note in table.notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def _warn(text: str) -> None:
    """One line whatever the width of the terminal, so that it can be searched and copied."""
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _end(plan: object) -> None:
    """Exit with 3 and the gaps' names where the table is not whole."""
    from pipeline.orchestration.plan import Plan

    assert isinstance(plan, Plan)
    if plan.is_complete:
        return
    for dataset, reason in plan.gaps.items():
        _warn(f"gap: {dataset}: {reason}")
    for trial in {t.key: t for t in plan.all_trials() if plan.is_failed(t)}.values():
        reason = plan.failures[trial.key]
        _warn(f"failed: {trial.describe()}: {reason}")
    missing = len(plan.missing("grid")) + len(plan.missing("final"))
    if missing:
        _warn(f"missing: {missing} trials")
    raise typer.Exit(GAPS)


@app.command()
def plan(name: Name, profile: Profile = None, workspace: Root = WORKSPACE) -> None:
    """Say what a run would do: cells, trials, what is finished, what is missing, how long.

    Example: equigrid plan ddmnist --profile small
    """
    from pipeline.config import load_experiment
    from pipeline.orchestration.workspace import Workspace
    from stages.forecast import forecast

    experiment = load_experiment(name, profile)
    for part in forecast(experiment, Workspace(workspace)):
        console.print(part, highlight=False)


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
    from pipeline.config import load_experiment
    from pipeline.orchestration.workspace import Workspace
    from stages import tables as stage
    from stages.known import known_plan, plan_from_mlflow

    experiment, space = load_experiment(name, profile), Workspace(workspace)
    source = plan_from_mlflow if from_mlflow else known_plan
    found = source(experiment, space)
    _show(stage.tables(found, space, None, with_figures=not from_mlflow))
    console.print(f"written to {space.tables(experiment.full_name)}", highlight=False)
    _end(found)


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

    from pipeline.config import load_experiment
    from pipeline.orchestration.workspace import Workspace
    from stages.known import known_plan
    from stages.status import status as parts_of

    experiment, space = load_experiment(name, profile), Workspace(workspace)
    plan = known_plan(experiment, space)
    if watch:
        with Live(Group(*parts_of(plan, space)), console=console, auto_refresh=False) as live:
            while not plan.is_complete:
                time.sleep(WATCH_SECONDS)
                plan = known_plan(experiment, space)
                live.update(Group(*parts_of(plan, space)), refresh=True)
    else:
        for part in parts_of(plan, space):
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
    from pipeline.config import load_experiment
    from pipeline.orchestration.workspace import Workspace
    from stages.known import known_plan
    from stages.show import show as parts_of

    space = Workspace(workspace)
    plan = known_plan(load_experiment(name, profile), space)
    for part in parts_of(plan, space, what):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


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

    Example: equigrid verify quickstart --repair
    """
    from pipeline.config import load_experiment
    from pipeline.orchestration.workspace import Workspace
    from stages import tables as stage
    from stages.known import known_plan
    from stages.verify import repair
    from stages.verify import verify as examine

    experiment, space = load_experiment(name, profile), Workspace(workspace)
    found = examine(experiment, space)
    for finding in found.findings:
        _warn(f"{finding.subject}: {finding.text}")
    if mend and found.findings:
        console.print(f"{repair(experiment, space, found)} runs written anew", highlight=False)
        stage.tables(known_plan(experiment, space), space, None)
        found = examine(experiment, space)
        for finding in found.findings:
            _warn(f"still: {finding.subject}: {finding.text}")
    console.print(
        f"{found.runs} runs and {found.cells} cells: "
        + (f"{len(found.findings)} do not match" if found.findings else "all match"),
        highlight=False,
    )
    if found.findings:
        raise typer.Exit(ERROR)


@app.command()
def replay(
    run: Annotated[str, typer.Argument(help="An MLflow run id, or a run key (its beginning).")],
    workspace: Root = WORKSPACE,
) -> None:
    """Train a tracked run again from its record alone, and compare every number.

    Example: equigrid replay 3f2a9c41
    """
    from pipeline.orchestration.workspace import Workspace
    from stages.replay import TOLERANCE, Replay, find_record
    from stages.replay import replay as steps_of

    space = Workspace(workspace)
    record = find_record(space, run)
    console.print(f"{record.trial.role}  {record.trial.describe()}", highlight=False, markup=False)
    for step in steps_of(record, space):
        if not isinstance(step, Replay):
            console.print(step, highlight=False, markup=False, soft_wrap=True)
            continue
        for text in step.differences:
            _warn(text)
        if step.bitwise:
            console.print("bitwise equal")
            continue
        stack = "on the same stack" if step.same_stack else "on another stack"
        console.print(
            f"not bitwise equal, {stack}; scores of the best epoch differ by at most "
            f"{step.largest:.4g} (allowed on another stack: {TOLERANCE:g})",
            highlight=False,
        )
        if not step.agrees:
            raise typer.Exit(ERROR)


@app.command()
def train(
    name: Annotated[str | None, typer.Argument(help="A search space, unless --trial.")] = None,
    row: Annotated[str | None, typer.Option(help="A row of the search space.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the search space.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    strength: Annotated[
        float | None, typer.Option("--lambda", help="Weight of the equivariance loss.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    role: Annotated[str, typer.Option(help="grid, or final: evaluates the test splits.")] = "grid",
    trial: Annotated[
        Path | None, typer.Option(help="A trial as JSON, instead of everything above.")
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Run one trial in the foreground, without Ray or MLflow; continues where it was stopped.

    Writes its record and its best weights into the workspace.

    Example: equigrid train quickstart --row Ours --dataset C4 --lr 1e-3 --lambda 0.5 --role final
    """
    from pipeline.orchestration.workspace import Workspace
    from stages.foreground import resolve, resolve_file, train_one

    if trial is not None:
        wanted = resolve_file(trial)
    else:
        wanted = resolve(name, profile, row, dataset, lr, strength, seed, role)
    if not train_one(wanted, Workspace(workspace), console):
        raise typer.Exit(ERROR)


@app.command("import")
def import_records(
    files: Annotated[list[Path], typer.Argument(help="Record files (JSON).")],
    workspace: Root = WORKSPACE,
) -> None:
    """Add records from elsewhere to the workspace and to MLflow.

    Example: equigrid import results/*.json
    """
    from pipeline.orchestration.workspace import Workspace
    from stages.importing import import_files

    added, known = import_files(files, Workspace(workspace))
    console.print(f"{added} records added, {known} known already", highlight=False)


@app.command()
def ui(
    workspace: Root = WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on the workspace's store, on localhost only. Ends with Ctrl-C.

    Example: equigrid ui --port 5001
    """
    from pipeline.orchestration.workspace import Workspace

    space = Workspace(workspace)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (space.root / "mlflow.db").exists():
        raise InputError(f"{space.root}: nothing is tracked here yet; run a search space first")
    console.print(f"MLflow UI: http://127.0.0.1:{port}", highlight=False)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", space.tracking_uri,
        "--default-artifact-root", space.artifact_folder.as_uri(), "--workers", "1",
    ]  # fmt: skip
    os.execv(sys.executable, command)


@app.command()
def doctor(
    name: Annotated[str | None, typer.Argument(help="Also check a search space's data.")] = None,
    workspace: Root = WORKSPACE,
) -> None:
    """Check versions, raw data, disk, MLflow, Ray and GPU; say what to do about each problem.

    Example: equigrid doctor ddmnist
    """
    from stages.doctor import examine

    if not examine(name, workspace, console):
        raise typer.Exit(ERROR)


def main() -> None:
    """Run a command; InputError is one line and exit code 2."""
    handler = RichHandler(console=console, show_path=False, show_time=False, markup=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    log.setLevel(logging.INFO)
    try:
        # Typer gives back the code of an Exit, 130 for Ctrl-C, None where a command just ends.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except InputError as error:
        print(f"equigrid: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except typer.TyperException as error:
        print(f"equigrid: {error.format_message()}; see --help", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except OSError as error:
        print(f"equigrid: {error}", file=sys.stderr)
        sys.exit(ERROR)
    except KeyboardInterrupt:
        print("equigrid: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
