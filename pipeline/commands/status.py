"""Show what each cell has, what it misses, and why; exit code 3 while something is missing.

Example: equigrid status quickstart --watch
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.commands import external
from equigrid.commands.output import console
from equigrid.commands.shared import GAPS, WORKSPACE, Name, Profile, Root, open_ledger
from equigrid.errors import InputError
from equigrid.metrics.direction import higher_is_better
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.reporting import formats
from equigrid.reporting.assembly import assemble
from equigrid.reporting.words import duration, short
from equigrid.trial import TRAINING_VERSION, Trial, point_text

#: Between two looks of `--watch`.
WATCH_SECONDS = 2.0
#: Epochs whose mean time tells how long the rest takes.
LATEST = 5


def status(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until it is complete.")] = False,
) -> None:
    if (runs := external.opened(name, profile, workspace)) is not None:
        if watch:
            raise InputError("--watch: a table of tracked runs trains nothing to be watched")
        external.status(runs)
        return
    ledger = open_ledger(name, profile, workspace)
    plan = ledger.known()
    shown = overview(plan, ledger.workspace)
    if watch:
        with Live(Group(*shown), console=console, auto_refresh=False) as live:
            while not plan.is_complete:
                time.sleep(WATCH_SECONDS)
                ledger.reread()
                plan = ledger.known()
                live.update(Group(*overview(plan, ledger.workspace)), refresh=True)
    else:
        for part in shown:
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    if not plan.is_complete:
        raise typer.Exit(GAPS)


@dataclass(frozen=True)
class TrialCounts:
    """Of some trials: each is in exactly one of the four."""

    done: int
    running: int
    failed: int
    missing: int

    def __str__(self) -> str:
        total = self.done + self.running + self.failed + self.missing
        if self.done == total:
            return f"{self.done}/{total}" if total else formats.DASH
        named = (("running", self.running), ("failed", self.failed), ("missing", self.missing))
        parts = [f"{count} {name}" for name, count in named if count]
        return f"{self.done}/{total}, {', '.join(parts)}"


def count(plan: Plan, trials: Sequence[Trial], running: set[str]) -> TrialCounts:
    done = sum(map(plan.is_finished, trials))
    failed = sum(map(plan.is_failed, trials))
    under_way = sum(
        trial.key in running and not plan.is_finished(trial) and not plan.is_failed(trial)
        for trial in trials
    )
    return TrialCounts(done, under_way, failed, len(trials) - done - failed - under_way)


def overview(plan: Plan, workspace: Workspace) -> Iterator[RenderableType]:
    """One line a cell, then failures with their reasons, then what to do next."""
    table, running = assemble(plan), workspace.running()
    shown = RichTable(title=escape(table.title), title_justify="left")
    headings = ["cell", "grid", "selected", "seeds", "score"]
    if table.has_published:
        headings += ["published", "difference"]
    for heading in headings:
        shown.add_column(heading)
    for (row, name), cell in table.cells.items():
        arm = (row, cell.dataset)
        grid, finals = plan.grid.get(arm, ()), plan.finals.get(arm)
        if finals is None:
            seeds = f"0/{cell.wanted}, after the grid"
        else:
            seeds = str(count(plan, finals, running))
        line = [
            f"{row} / {name}",
            str(count(plan, grid, running)),
            point_text(cell.point) or formats.DASH,
            seeds,
            formats.score(cell),
        ]
        if table.has_published:
            line += [formats.published(cell), formats.difference(table, row, name)]
        shown.add_row(*map(escape, line))
    yield shown
    for text in dict.fromkeys(doubt for cell in table.cells.values() for doubt in cell.doubts):
        yield escape(f"{formats.DOUBT} {text}")
    for trial in {t.key: t for t in plan.all_trials() if t.key in running}.values():
        if not plan.is_finished(trial):
            yield escape(f"running: {trial.describe()}: {_progress(trial, workspace)}")
    failed = plan.failed_texts()
    for text in failed:
        yield f"[yellow]{escape(f'failed: {text}')}[/]"
    for text in plan.held_texts():
        yield f"[yellow]{escape(f'waiting: {text}')}[/]"
    for trial in plan.all_trials():
        if refusal := plan.refusal(trial):
            text = f"MLflow refuses {trial.describe()} ({trial.role}): {refusal}"
            yield f"[yellow]{escape(text)}[/]"
    for dataset, gap in plan.gaps.items():
        yield f"[yellow]{escape(f'gap: {dataset}: {gap.reason}')}[/]"
    for text in plan.undefined_texts():
        yield f"[yellow]{escape(f'gap: {text}')}[/]"
    doubted = any(plan.doubt(t) and not plan.refusal(t) for t in plan.all_trials())
    yield from _advice(plan, bool(failed), doubted)


def _progress(trial: Trial, workspace: Workspace) -> str:
    """Epoch, score and an upper bound of the time left, by the latest epochs."""
    epochs, journal = trial.training["epochs"], workspace.journal(trial.key)
    if not journal:
        return f"in epoch 1 of {epochs}"
    select = str(trial.training["select"])
    scores = [epoch[select] for epoch in journal]
    best = (max if higher_is_better(select) else min)(scores)
    seconds = fmean(epoch["seconds"] for epoch in journal[-LATEST:]) * (epochs - len(journal))
    return (
        f"epoch {len(journal)} of {epochs}, {short(select)} {scores[-1]:.4f} (best {best:.4f}), "
        f"at most {duration(seconds)} left"
    )


def _advice(plan: Plan, failed: bool, doubted: bool) -> Iterator[str]:
    experiment = plan.experiment
    name = shlex.quote(experiment.given) + (
        f" --profile {experiment.profile}" if experiment.profile else ""
    )
    missing = len(plan.missing("grid")) + len(plan.missing("final"))
    if missing or plan.unselected:
        yield f"{missing} trials missing: equigrid run {name} (--only ROW/COLUMN: one cell)"
    if failed:
        yield f"given up: equigrid run {name} --retry-failed"
    if experiment.training_version != TRAINING_VERSION:
        yield f"trained by version {experiment.training_version} of training: a run trains anew"
    if doubted:
        yield (
            f"not tracked: equigrid run {name} sends it again; tracked with other figures: "
            f"equigrid verify {name} --repair"
        )
    if any(map(plan.is_finished, plan.all_trials())) and not plan.is_tracked:
        untracked = f"no run of {experiment.full_name} is tracked in MLflow"
        yield f"{untracked}: equigrid run {name} sends them"
    if plan.is_complete and not doubted:
        yield "complete"
