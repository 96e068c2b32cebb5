"""Who runs, tracks and watches trials, and how stages 3 and 4 run what is missing."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import Dispatcher, Slice
from equigrid.planning.failing_alike import common_reason
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import Arm, Plan
from equigrid.record import Record
from equigrid.tracking.writer import Writer
from equigrid.trial import Role, Trial


class ProgressListener(Protocol):
    """What the stages tell of their progress: the terminal's display, or nobody."""

    def begin(self, stage: str) -> None: ...

    def progress(self, stage: str, name: str, done: int, total: int) -> None: ...

    def end(self, stage: str, note: str, failed: bool = False) -> None:
        """failed: nothing of it succeeded."""

    def begin_trials(self, trials: Sequence[Trial], plan: Plan) -> None: ...

    def slice(self, trial: Trial, piece: Slice, record: Record | None) -> None: ...


@dataclass(frozen=True)
class RunContext:
    """Who runs, tracks and shows trials. prepared: data files by data key.

    dispatcher: called when there is something to run, so that Ray starts only then.
    only: the (row, dataset) whose trials may run, None for all. holds: whether the rest of an arm
    waits whose trials fail alike; not where they are tried again.
    """

    ledger: Ledger
    dispatcher: Callable[[], Dispatcher]
    prepared: Mapping[str, PreparedData]
    writer: Writer
    listener: ProgressListener
    only: Container[Arm] | None = None
    holds: bool = True


def _is_new_together(trial: Trial) -> bool:
    """Whether nobody may have trained such parts together: with code or data of the user's own.

    What is packaged has been tried; where Ray starts processes for it, a first batch takes seconds.
    """
    has_own = bool(trial.all_code) or trial.data["builder"] == "arrays"
    return has_own and bool(trial.training)


def run_missing(role: Role, plan: Plan, context: RunContext) -> int:
    """Run what a plan still misses of a role, and hand each record to MLflow; returns how many."""
    # The longest first (two encoder passes before one): no core idles at the end.
    rows = plan.experiment.rows
    missing = [t for t in plan.missing(role) if context.only is None or t.arm in context.only]
    missing.sort(key=lambda trial: -rows[trial.row].passes)
    held = dict(plan.held) if context.holds else {}
    missing = [trial for trial in missing if trial.arm not in held]
    if not missing:
        return 0
    context.listener.begin_trials(missing, plan)
    reasons: dict[Arm, list[str]] = {}
    tried = {t.arm for t in plan.all_trials() if t.key in plan.results}
    begun: set[str] = set()

    def give_up(trial: Trial, reason: str) -> None:
        context.ledger.failed(trial, reason)
        reasons.setdefault(trial.arm, []).append(reason)
        if context.holds and trial.arm not in tried and (why := common_reason(reasons[trial.arm])):
            held[trial.arm] = why

    def on_slice(trial: Trial, piece: Slice) -> None:
        workspace = context.ledger.workspace
        record = workspace.record(trial.key) if piece.state == "finished" else None
        context.listener.slice(trial, piece, record)
        if record is not None:
            tried.add(trial.arm)
            context.ledger.finished(record)
            context.writer.record(trial, record)
        elif piece.state == "failed":
            # Without a quarantine (a full disk) it is only missing.
            if (failure := workspace.failure(trial.key)) is not None:
                give_up(trial, failure.reason)
            context.writer.failure(trial, piece.reason)

    def may_begin(trial: Trial) -> bool:
        if trial.arm in held or trial.key in context.ledger.failures:
            return False
        begun.add(trial.key)
        return True

    dispatcher = context.dispatcher()
    first = {t.arm: t for t in reversed(missing) if t.arm not in tried and _is_new_together(t)}
    for failure in dispatcher.try_batches(list(first.values()), context.prepared) if first else ():
        context.ledger.workspace.quarantine(failure)
        on_slice(failure.trial, Slice("failed", reason=failure.reason))
    if left := [trial for trial in missing if trial.arm not in held]:
        dispatcher.run(left, context.prepared, on_slice, may_begin)
    return len(begun)
