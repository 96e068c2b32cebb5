"""Who runs, tracks and watches trials, and how stages 3 and 4 run what is missing."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import Dispatcher, Slice
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import Arm, Plan
from equigrid.record import Record
from equigrid.tracking.writer import Writer
from equigrid.trial import Role, Trial


class Watcher(Protocol):
    """What the stages tell of their progress: the terminal's display, or nobody."""

    def begin(self, stage: str) -> None: ...

    def progress(self, stage: str, name: str, done: int, total: int) -> None: ...

    def end(self, stage: str, note: str) -> None: ...

    def begin_trials(self, trials: Sequence[Trial], plan: Plan) -> None: ...

    def slice(self, trial: Trial, piece: Slice, record: Record | None) -> None: ...


@dataclass(frozen=True)
class Crew:
    """Who runs, tracks and shows trials. prepared: data files by data key.

    dispatcher: called when there is something to run, so that Ray starts only then.
    only: the (row, dataset) whose trials may run, None for all.
    """

    ledger: Ledger
    dispatcher: Callable[[], Dispatcher]
    prepared: Mapping[str, PreparedData]
    writer: Writer
    watcher: Watcher
    only: Container[Arm] | None = None


def run_missing(role: Role, plan: Plan, crew: Crew) -> int:
    """Run what a plan still misses of a role, and hand each record to MLflow; returns how many."""
    # The longest first (two encoder passes before one): no core idles at the end.
    rows = plan.experiment.rows
    missing = [t for t in plan.missing(role) if crew.only is None or t.arm in crew.only]
    missing.sort(key=lambda trial: -rows[trial.row].passes)
    if not missing:
        return 0
    crew.watcher.begin_trials(missing, plan)

    def on_slice(trial: Trial, piece: Slice) -> None:
        workspace = crew.ledger.workspace
        record = workspace.record(trial.key) if piece.state == "finished" else None
        crew.watcher.slice(trial, piece, record)
        if record is not None:
            crew.ledger.finished(record)
            crew.writer.record(trial, record)
        elif piece.state == "failed":
            # Without a quarantine (a full disk) it is only missing.
            if (failure := workspace.failure(trial.key)) is not None:
                crew.ledger.failed(trial, failure.reason)
            crew.writer.failure(trial, piece.reason)

    crew.dispatcher().run(missing, crew.prepared, on_slice)
    return len(missing)
