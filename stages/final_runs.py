"""Stage 4: the selected (lr, λ) over all seeds, tested once on the best-validation weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.orchestration.dispatch import Dispatcher, PreparedData
from pipeline.orchestration.plan import Plan
from pipeline.orchestration.workspace import Workspace
from pipeline.tracking.writer import Writer
from stages.display import Display
from stages.grid import run_missing


def final_runs(
    plan: Plan,
    workspace: Workspace,
    dispatcher: Callable[[], Dispatcher],
    prepared: Mapping[str, PreparedData],
    writer: Writer,
    display: Display,
) -> int:
    """Train the missing finals; one that the grid trained already is only evaluated."""
    return run_missing("final", plan, workspace, dispatcher, prepared, writer, display)
