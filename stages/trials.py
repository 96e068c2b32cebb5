"""How stages 3 and 4 run what is missing."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from pipeline.orchestration.dispatch import Dispatcher, PreparedData, Slice
from pipeline.orchestration.plan import Group, Plan
from pipeline.orchestration.workspace import Workspace
from pipeline.tracking.writer import Writer
from pipeline.trial import Role, Trial
from stages.display import Display


@dataclass(frozen=True)
class Crew:
    """Who runs, tracks and shows trials. prepared: data files by data key.

    dispatcher: called when there is something to run, so that Ray starts only then.
    only: the (row, dataset) whose trials may run, None for all.
    """

    workspace: Workspace
    dispatcher: Callable[[], Dispatcher]
    prepared: Mapping[str, PreparedData]
    writer: Writer
    display: Display
    only: Container[Group] | None = None


def run_missing(role: Role, plan: Plan, crew: Crew) -> int:
    """Run what a plan still misses of a role, and hand each record to MLflow; returns how many."""
    # The longest first (two encoder passes before one): no core idles at the end.
    rows = plan.experiment.rows
    missing = [t for t in plan.missing(role) if crew.only is None or t.cell_group in crew.only]
    missing.sort(key=lambda trial: -rows[trial.row].passes)
    if not missing:
        return 0
    crew.display.begin_trials(missing, plan)

    def report(trial: Trial, piece: Slice) -> None:
        record = crew.workspace.record(trial.key) if piece.state == "finished" else None
        crew.display.slice(trial, piece, record)
        if record is not None:
            crew.writer.record(trial, record)
        elif piece.state == "failed":
            crew.writer.failure(trial, piece.reason)

    crew.dispatcher().run(missing, crew.prepared, report)
    return len(missing)
