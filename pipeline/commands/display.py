"""Live progress: stages and trials on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as RichTable
from rich.text import Text

from equigrid.metrics.direction import higher_is_better
from equigrid.orchestration.dispatch import SLICE_SECONDS, Slice
from equigrid.planning.plan import Plan
from equigrid.record import Record
from equigrid.reporting.words import duration, short
from equigrid.trial import Trial

#: Trials in training that are listed at most.
MOST_SHOWN = 12
STAGES = ("data build", "augment cache", "grid", "final runs", "tables")


class Display:
    """What the stages tell of; used as a context."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._notes = dict.fromkeys(STAGES, "")
        self._begun: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._trials: dict[str, Trial] = {}
        self._epochs: dict[str, int] = {}
        self._first_epochs: dict[str, int] = {}
        self._states: dict[str, str] = {}
        self._best: dict[tuple[str, str], tuple[float, str]] = {}
        self._latest: dict[str, float] = {}
        self._score = ""
        self._epochs_of: dict[str, int] = {}
        self._trials_begun = 0.0
        self._started: dict[str, float] = {}
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Display:
        if self.console.is_interactive:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_interactive:
            self._live.stop()

    def begin(self, stage: str) -> None:
        self._begun[stage] = time.monotonic()

    def end(self, stage: str, note: str, failed: bool = False) -> None:
        self._ended[stage] = time.monotonic()
        self._notes[stage] = note
        seconds = duration(self._ended[stage] - self._begun[stage])
        # On a terminal the live view is transient: these lines are what stays.
        self.console.print(
            f"{'[red]✗[/]' if failed else '[green]✓[/]'} {stage:<14} {note} [dim]({seconds})[/]",
            highlight=False,
            soft_wrap=True,
        )

    def progress(self, stage: str, name: str, done: int, total: int) -> None:
        self._notes[stage] = f"{name} {100 * done // max(total, 1)} %"

    def begin_trials(self, trials: Sequence[Trial], plan: Plan) -> None:
        self._trials = {trial.key: trial for trial in trials}
        self._states = dict.fromkeys(self._trials, "waiting")
        # A final may have the key of a grid trial: nothing of that is its own.
        self._epochs, self._first_epochs = {}, {}
        self._latest, self._started = {}, {}
        self._score = plan.experiment.space.training.select
        self._epochs_of = {name: it.training.epochs for name, it in plan.experiment.rows.items()}
        self._trials_begun = time.monotonic()
        if not self.console.is_interactive:
            self.console.print(f"  {len(trials)} to run, starting", highlight=False)
        for trials_of_group in plan.grid.values():
            for trial in trials_of_group:
                if plan.is_finished(trial):
                    self._note_best(trial, plan.results[trial.key].validation[self._score])

    def slice(self, trial: Trial, piece: Slice, record: Record | None) -> None:
        if piece.epochs:
            first = piece.epochs_done - len(piece.epochs)
            self._first_epochs.setdefault(trial.key, first)
            self._epochs[trial.key] = piece.epochs_done
        for row in piece.epochs:
            self._note_best(trial, row[self._score])
            self._latest[trial.key] = row[self._score]
        if piece.state == "training" and piece.reason:
            self.console.print(
                f"{trial.describe()}: {piece.reason}; trying again",
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        before = self._states.get(trial.key)
        if before != "training" and piece.state == "training":
            # A slice tells of epochs that are over: it began before it was told.
            now = time.monotonic()
            self._started[trial.key] = now - SLICE_SECONDS if piece.epochs else now
        self._states[trial.key] = piece.state
        if before == piece.state or self.console.is_interactive:
            return
        if piece.state in ("finished", "failed"):
            counts = Counter(self._states.values())
            ended = counts["finished"] + counts["failed"]
            outcome = piece.reason
            if record is not None and record.validation:
                outcome = f"{short(self._score)} {record.validation[self._score]:.4f}"
            self.console.print(
                f"  {ended}/{len(self._trials)}  {trial.describe()}  {piece.state}  {outcome}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )

    def _note_best(self, trial: Trial, value: float) -> None:
        arm = trial.arm
        sign = 1 if higher_is_better(self._score) else -1
        if arm not in self._best or sign * value > sign * self._best[arm][0]:
            self._best[arm] = (value, trial.describe())

    def time_left(self) -> float | None:
        """Seconds, by the epochs done since this stage began; None before there are any."""
        done = sum(n - self._first_epochs.get(key, 0) for key, n in self._epochs.items())
        if not done:
            return None
        ahead = sum(
            self._epochs_of[self._trials[key].row] - self._epochs.get(key, 0)
            for key, state in self._states.items()
            if state not in ("finished", "failed")
        )
        return (time.monotonic() - self._trials_begun) / done * ahead

    def _render(self) -> RenderableType:
        stages = RichTable.grid(padding=(0, 2))
        now = time.monotonic()
        for stage in STAGES:
            if stage in self._begun and stage not in self._ended:
                elapsed = duration(now - self._begun[stage])
                stages.add_row("[cyan]▸[/]", f"[bold]{stage}[/]", self._notes[stage], elapsed)
            elif stage not in self._begun:
                stages.add_row("[dim]·[/]", f"[dim]{stage}[/]", "", "")
        parts: list[RenderableType] = [stages]
        if self._states and any(s not in ("finished", "failed") for s in self._states.values()):
            counts = Counter(self._states.values())
            running = counts["training"]
            left = self.time_left()
            ending = "" if left is None else f"  at most {duration(left)} left"
            remaining = counts["waiting"]
            if remaining == len(self._states):
                parts.append(Text(f"  {remaining} to run, starting"))
            else:
                parts.append(
                    Text(
                        f"  {counts['finished']} done, {running} running, {counts['failed']} "
                        f"failed, {remaining} remaining{ending}"
                    )
                )
            best = RichTable(box=None, padding=(0, 2), header_style="dim")
            best.add_column("row / dataset")
            best.add_column(f"best {short(self._score)}", justify="right")
            best.add_column("by")
            for (row, dataset), (value, by) in self._best.items():
                best.add_row(f"{row} / {dataset}", f"{value:.4f}", by.partition("  ")[2])
            parts += [best, self._running()]
        return Group(*parts)

    def _running(self) -> RichTable:
        """The trials in training: epoch and latest score, and at most how long each still takes."""
        shown = RichTable(box=None, padding=(0, 2), header_style="dim")
        shown.add_column("in training")
        shown.add_column("epoch", justify="right")
        shown.add_column(short(self._score), justify="right")
        shown.add_column("at most", justify="right")
        training = [key for key, state in self._states.items() if state == "training"]
        for key in training[:MOST_SHOWN]:
            done, first = self._epochs.get(key, 0), self._first_epochs.get(key, 0)
            spent = time.monotonic() - self._started[key]
            most = self._epochs_of[self._trials[key].row]
            left = spent / (done - first) * (most - done) if done > first else None
            shown.add_row(
                self._trials[key].describe(),
                f"{done}/{most}",
                f"{self._latest[key]:.4f}" if key in self._latest else "",
                "" if left is None else f"{duration(left)} left",
            )
        if len(training) > MOST_SHOWN:
            shown.add_row(f"and {len(training) - MOST_SHOWN} more", "", "", "")
        return shown
