"""Run the five stages to a finished table; what is finished is never run again.

Example: equigrid run quickstart

Example: equigrid run ddmnist --profile small --workspace /data/equigrid

Example: equigrid run ddmnist --only "Ours/C4"
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import (
    WORKSPACE,
    Name,
    Profile,
    Root,
    end,
    open_ledger,
    show_table,
    warn,
)
from equigrid.commands.signals import end_on_signals
from equigrid.machine import cluster


def run(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Run trials again that were given up, and all of their row."
        ),
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One trial at a time, without Ray (debugging).")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="ROW/COLUMN: run what this cell misses.")
    ] = None,
) -> None:
    console.goes_on = True
    ledger = open_ledger(name, profile, workspace)
    experiment = ledger.experiment
    console.print(f"{experiment.full_name}, workspace {ledger.workspace.root}", soft_wrap=True,
                  highlight=False, markup=False)  # fmt: skip
    cells = [experiment.cell(text) for text in only or []]
    arms = {(row, experiment.space.columns[column].dataset) for row, column in cells}
    is_alone = cluster() is None
    if is_alone:
        from equigrid.commands.plan import check_room

        check_room(experiment, with_ray=not in_process)
    with ThreadPoolExecutor(1) as background:
        begun: Future[None] | None = None
        is_new = not ledger.workspace.tables(experiment.full_name).exists()
        if is_alone and is_new and not in_process:
            # It has something to train: a Ray of its own starts while the rest is imported and its
            # data is made.
            begun = background.submit(_start_ray)
        from equigrid.commands.display import Display
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
