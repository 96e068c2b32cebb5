"""For people who write Python: an experiment's table, runs, models and predictions.

    import equigrid

    quickstart = equigrid.open_experiment("quickstart")
    quickstart.table()
    run = quickstart.open_run("Ours/C4")
    outputs, targets = run.predict("test_augmented")

It reads what runs have left; `run` alone trains.
"""

from __future__ import annotations

import html
import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas

from equigrid.commands.shared import BAD_INPUT, GAPS
from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.external_runs.opened import RunsTable, holds_runs, open_runs
from equigrid.planning.find_run import find_record, finished_finals
from equigrid.planning.ledger import Ledger
from equigrid.planning.opening import OpenRun, open_run
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting import csv_files, formats
from equigrid.reporting.assembly import assemble
from equigrid.tracking import settled
from equigrid.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["OpenExperiment", "OpenRun", "open_experiment"]


def open_experiment(
    name: str, profile: str | None = None, workspace: str | Path = "workspace"
) -> OpenExperiment | RunsTable:
    """A search space by its name or path, as the commands take it; raises InputError.

    One with `runs:` opens as the table of those runs (docs/your-runs.md).
    """
    if holds_runs(name):
        with settled():
            return open_runs(name, profile, Workspace(Path(workspace)))
    return OpenExperiment(Ledger(load_experiment(name, profile), Workspace(Path(workspace))))


class OpenExperiment:
    """An experiment as its workspace, and MLflow where a record is not here, have it."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __repr__(self) -> str:
        experiment, root = self.ledger.experiment, self.ledger.workspace.root
        return f"<experiment {experiment.full_name} in {root}>"

    def _repr_html_(self) -> str:
        """In a notebook its table is shown, as `table.md` has it, without the notes."""
        table = assemble(self.plan)
        parts = [f"<h4>{html.escape(table.title)}</h4>"]
        for heading, (head, *lines) in formats.in_full(table):
            parts += [f"<h5>{html.escape(heading)}</h5>"] if heading else []
            parts.append(pandas.DataFrame(lines, columns=head).to_html(index=False))
        return "\n".join(parts)

    def run(self, *, retry_failed: bool = False, only: str | Sequence[str] = ()) -> OpenExperiment:
        """Run what is missing, as `equigrid run` does, in a process of its own; then look again.

        only: `ROW/COLUMN`, one or several. What the command says is printed line by line, and an
        interrupt ends it as Ctrl-C does: what is finished stays. Returns the experiment, whose
        table may have gaps, which the last lines name. Raises InputError where the command refuses
        to begin, CalledProcessError where it fails.
        """
        experiment, root = self.ledger.experiment, self.ledger.workspace.root
        cells = [only] if isinstance(only, str) else only
        # Without the working folder among the modules, as of the command itself.
        command = [
            sys.executable, "-P", "-c", "from equigrid.cli import main; main()",
            "run", experiment.given, "--workspace", str(root),
            *(("--profile", experiment.profile) if experiment.profile else ()),
            *(word for cell in cells for word in ("--only", cell)),
            *(("--retry-failed",) if retry_failed else ()),
        ]  # fmt: skip
        last = ""
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    last = line.strip() or last
                    print(line, end="", flush=True)
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)
                raise
        self.reread()
        if process.returncode == BAD_INPUT:
            raise InputError(last)
        if process.returncode not in (0, GAPS):
            raise subprocess.CalledProcessError(process.returncode, command)
        return self

    @cached_property
    def plan(self) -> Plan:
        with settled():
            return self.ledger.known()

    def reread(self) -> None:
        """Look again: a run may have gone on."""
        self.ledger.reread()
        self.__dict__.pop("plan", None)

    def table(self) -> pandas.DataFrame:
        """A line a cell, by row and column: what `table.csv` has."""
        return _frame(csv_files.comma_separated(assemble(self.plan))).set_index(["row", "column"])

    def comparisons(self) -> pandas.DataFrame:
        """A line a pair of rows and column: paired differences, as `comparisons.csv` has them."""
        return _frame(csv_files.comparison_csv(assemble(self.plan)))

    def grid(self) -> pandas.DataFrame:
        """A line a grid trial, as `grid.csv` has it."""
        trials = [trial for group in self.plan.grid.values() for trial in group]
        select = self.plan.experiment.space.training.select
        return _frame(
            csv_files.grid_csv(select, [(t, self.plan.results.get(t.key)) for t in trials])
        )

    def runs(self, what: str | None = None) -> pandas.DataFrame:
        """Run keys, searched values and scores of finished runs.

        Of `ROW/COLUMN` its finals, by seed; of a row all its runs, without one those of all rows:
        by row, dataset, role (grid or final) and seed. Raises InputError for a name that is none.
        """
        if what is not None and "/" in what:
            trials = finished_finals(self.plan, what)
            return pandas.DataFrame([self._line(it) for it in trials]).set_index("seed")
        rows = self.plan.experiment.rows
        if what is not None and what not in rows:
            raise InputError(f"{what!r}: no such row or cell; rows are: {', '.join(rows)}")
        lines = [
            {"row": trial.row, "dataset": trial.dataset, "role": trial.role, **self._line(trial)}
            for arms in (self.plan.grid, self.plan.finals)
            for trials in arms.values()
            for trial in trials
            if what in (None, trial.row) and self.plan.is_finished(trial)
        ]
        index = ["row", "dataset", "role", "seed"]
        return pandas.DataFrame(lines, columns=None if lines else index).set_index(index)

    def _line(self, trial: Trial) -> dict[str, Any]:
        result = self.plan.results[trial.key]
        tests = {
            f"{split}/{name}": value
            for split, scores in (result.test or {}).items()
            for name, value in scores.items()
        }
        return {
            "seed": trial.seed, "key": trial.key, **trial.hyperparameters, **result.validation,
            **(tests if trial.role == "final" else {}),
        }  # fmt: skip

    def curves(self, dataset: str | None = None, score: str | None = None) -> Figure:
        """The finals' scores by epoch as a matplotlib figure: their mean, from lowest to highest.

        dataset: by default the first. score: of the history, by default the one that selects.
        Raises InputError for a name that is none, and where no record of a final is here.
        """
        from equigrid.reporting.page import charts  # matplotlib takes half a second

        experiment = self.plan.experiment
        dataset = dataset or next(iter(experiment.datasets))
        if dataset not in experiment.datasets:
            known = ", ".join(experiment.datasets)
            raise InputError(f"{dataset!r}: no such dataset; there are: {known}")
        score = score or experiment.space.training.select
        rows = [row for row, method in experiment.rows.items() if not method.trivial]
        histories: dict[str, list[list[float]]] = {}
        known_scores: dict[str, None] = {}
        for row in rows:
            for trial in self.plan.finals.get((row, dataset), ()):
                record = self.ledger.workspace.record(trial.key)
                if record is None:
                    continue
                known_scores |= dict.fromkeys(name for epoch in record.history for name in epoch)
                if values := [epoch[score] for epoch in record.history if score in epoch]:
                    histories.setdefault(row, []).append(values)
        if not histories:
            there = f"{score!r}: no such score; there are: {', '.join(known_scores)}"
            raise InputError(there if known_scores else f"{dataset}: no record of a final is here")
        figure = charts.curves(rows, histories, score)
        figure.set_facecolor("white")
        return figure

    def record(self, run: str) -> Record:
        """By a run key or an MLflow run id (its beginning), or the first seed of `ROW/COLUMN`."""
        return find_record(self.ledger.workspace, run, self.plan)

    def history(self, run: str) -> pandas.DataFrame:
        """Scores by epoch."""
        history = self.record(run).history
        index = pandas.RangeIndex(1, len(history) + 1, name="epoch")
        return pandas.DataFrame(history, index=index)

    def open_run(self, run: str, device: str = "cpu") -> OpenRun:
        """The record, the dataset and the model with its best weights; errors as of `open_run`."""
        return open_run(self.ledger.workspace, self.record(run), device)


def _frame(text: str) -> pandas.DataFrame:
    return pandas.read_csv(io.StringIO(text))
