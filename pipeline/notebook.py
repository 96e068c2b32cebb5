"""For people who write Python: an experiment's table, runs, models and predictions.

    import equigrid

    quickstart = equigrid.open_experiment("quickstart")
    quickstart.table()
    run = quickstart.open_run("Ours/C4")
    outputs, targets = run.predict("test_augmented")

It reads what runs have left, and trains nothing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas

from equigrid.config.experiment import load_experiment
from equigrid.external_runs.opened import RunsTable, holds_runs, open_runs
from equigrid.planning.find_run import find_record, finished_finals
from equigrid.planning.ledger import Ledger, place_of
from equigrid.planning.open_run import OpenRun, open_run
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting import csv_files
from equigrid.reporting.assembly import assemble
from equigrid.tracking import settled

__all__ = ["OpenExperiment", "OpenRun", "open_experiment"]


def open_experiment(
    name: str, profile: str | None = None, workspace: str | Path = "workspace"
) -> OpenExperiment | RunsTable:
    """Open a search space by its name or path, as the commands take it; raises InputError.

    >>> import equigrid
    >>> equigrid.open_experiment("quickstart")
    <experiment quickstart in ...>

    One with `runs:` opens as the table of those runs (docs/your-runs.md).
    """
    here = Workspace(Path(workspace))
    name = place_of(name, profile, here)
    if holds_runs(name):
        with settled():
            return open_runs(name, profile, here)
    return OpenExperiment(Ledger(load_experiment(name, profile), here))


class OpenExperiment:
    """An experiment as its workspace, and MLflow where a record is not here, have it.

    >>> import equigrid
    >>> experiment = equigrid.open_experiment("quickstart")
    >>> table = experiment.table()
    >>> bool(table.loc[("Ours", "C4"), "n"] == len(experiment.runs("Ours/C4")))
    True
    >>> experiment.history("Ours/C4").index.name
    'epoch'
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __repr__(self) -> str:
        experiment, root = self.ledger.experiment, self.ledger.workspace.root
        return f"<experiment {experiment.full_name} in {root}>"

    def _repr_html_(self) -> str:
        """In a notebook its table is shown."""
        return str(self.table().to_html())

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

    def runs(self, cell: str) -> pandas.DataFrame:
        """The finals of `ROW/COLUMN`, by seed: run key, searched values and scores."""
        return pandas.DataFrame(list(self._lines(cell))).set_index("seed")

    def _lines(self, cell: str) -> Iterator[dict[str, Any]]:
        for trial in finished_finals(self.plan, cell):
            result = self.plan.results[trial.key]
            tests = {
                f"{split}/{name}": value
                for split, scores in (result.test or {}).items()
                for name, value in scores.items()
            }
            yield {
                "seed": trial.seed, "key": trial.key, **trial.hyperparameters,
                **result.validation, **tests,
            }  # fmt: skip

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
