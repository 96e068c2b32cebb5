"""Stage 3: the missing grid trials. Stage 4 uses the same way of running them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.orchestration.dispatch import Dispatcher, PreparedData, Slice
from pipeline.orchestration.plan import Plan
from pipeline.orchestration.workspace import Workspace
from pipeline.tracking.writer import Writer
from pipeline.trial import Role, Trial
from stages.display import Display


def run_missing(
    role: Role,
    plan: Plan,
    workspace: Workspace,
    dispatcher: Callable[[], Dispatcher],
    prepared: Mapping[str, PreparedData],
    writer: Writer,
    display: Display,
) -> int:
    """Run what a plan still misses of a role, and hand each record to MLflow; returns how many."""
    missing = plan.missing(role)
    if not missing:
        return 0
    display.begin_trials(missing, plan)

    def report(trial: Trial, piece: Slice) -> None:
        record = workspace.record(trial.key) if piece.state == "finished" else None
        display.slice(trial, piece, record)
        if record is not None:
            writer.record(trial, record)
        elif piece.state == "failed":
            writer.failure(trial, piece.reason)

    dispatcher().run(missing, prepared, report)
    return len(missing)


def grid(
    plan: Plan,
    workspace: Workspace,
    dispatcher: Callable[[], Dispatcher],
    prepared: Mapping[str, PreparedData],
    writer: Writer,
    display: Display,
) -> int:
    """Train every missing point of every grid."""
    return run_missing("grid", plan, workspace, dispatcher, prepared, writer, display)
