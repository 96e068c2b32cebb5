"""Commands that train."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from equigrid.cli.app import (
    ERROR,
    WORKSPACE,
    Name,
    Profile,
    Root,
    app,
    end,
    end_on_signals,
    open_ledger,
    show_table,
    warn,
)
from equigrid.cli.output import console
from equigrid.machine import cluster


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
    console.goes_on = True
    ledger = open_ledger(name, profile, workspace)
    experiment = ledger.experiment
    cells = [experiment.cell(text) for text in only or []]
    arms = {(row, experiment.space.columns[column].dataset) for row, column in cells}
    is_alone = cluster() is None
    if is_alone:
        from equigrid.commands.forecast import check_room

        check_room(experiment, with_ray=not in_process)

    with ThreadPoolExecutor(1) as background:
        begun: Future[None] | None = None
        is_new = not ledger.workspace.tables(experiment.full_name).exists()
        if is_alone and is_new and not in_process:
            # It has something to train: a Ray of its own starts while the rest is imported and its
            # data is made.
            begun = background.submit(_start_ray)
        from equigrid.cli.display import Display
        from equigrid.orchestration.dispatch import Dispatcher
        from equigrid.stages.run import run as run_stages

        def dispatcher() -> Dispatcher:
            retries = experiment.space.retries
            if in_process:
                from equigrid.orchestration.in_process import InProcess

                return InProcess(ledger.workspace, retries)
            from equigrid.orchestration.ray_tune import RayTune

            if begun is not None:
                begun.result()
            resources = experiment.space.resources
            made = RayTune(ledger.workspace, retries, resources, experiment.folder)
            end_on_signals()  # Ray has put handlers of its own in its place
            return made

        with Display(console) as display:
            ended = run_stages(
                ledger, dispatcher, display, retry_failed=retry_failed, only=arms or None
            )
    show_table(ended.table)
    if ended.fault:
        warn(ended.fault)
    if not cells or any(not ended.table.cells[cell].is_whole for cell in cells):
        end(ended.plan)


def _start_ray() -> None:
    from equigrid.orchestration.ray_start import start_ray

    start_ray()


@app.command()
def submit(
    name: Name,
    address: Annotated[
        str, typer.Option(help="The cluster's job server, such as http://head:8265.")
    ],
    profile: Profile = None,
    workspace: Annotated[
        str | None,
        typer.Option(help="A folder on the cluster's head; default: its EQUIGRID_WORKSPACE."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that were given up.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
) -> None:
    """Run on a Ray cluster, as a job: it goes on when this terminal is closed.

    The same command again shows the run under way. Credentials are the cluster's: RAY_AUTH_TOKEN.

    Example: equigrid submit ddmnist --address http://127.0.0.1:8265
    """
    from equigrid.commands.submit import connect, follow
    from equigrid.commands.submit import submit as submit_run
    from equigrid.config.experiment import load_experiment

    experiment = load_experiment(name, profile)
    arguments = ["--profile", profile] if profile else []
    arguments += ["--retry-failed"] if retry_failed else []
    client = connect(address)
    job, new = submit_run(client, name, experiment, workspace, arguments)
    console.print(
        f"{'submitted' if new else 'under way'}: job {job}; this terminal may be closed",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if not detach:
        code = follow(client, job, lambda text: print(text, end="", flush=True))
        raise typer.Exit(code)


@app.command()
def train(
    name: Annotated[str | None, typer.Argument(help="A search space, unless --trial.")] = None,
    row: Annotated[str | None, typer.Option(help="A row of the search space.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A dataset of the search space.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: a searched value of the row.")
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

    Example: equigrid train quickstart --row Ours --dataset C4 --set lr=1e-3 --set lambda=0.5
    """
    console.goes_on = True
    from equigrid.commands.train import resolve, resolve_file, train_one
    from equigrid.planning.workspace import Workspace

    if trial is not None:
        wanted = resolve_file(trial)
    else:
        wanted = resolve(name, profile, row, dataset, given or [], seed, role)
    if not train_one(wanted, Workspace(workspace), console):
        raise typer.Exit(ERROR)
