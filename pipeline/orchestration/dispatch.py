"""Running trials: one interface, in this process or through Ray Tune."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from pipeline.orchestration.worker import PreparedData, Slice, Worker
from pipeline.orchestration.workspace import Workspace
from pipeline.trial import Trial

Report = Callable[[Trial, Slice], None]

#: A slice is whole epochs for about this long: one result a second costs Tune nothing.
SLICE_SECONDS = 1.0


class Dispatcher(Protocol):
    """Runs trials to their end; `report` is told of every slice, in this thread.

    When `run` returns, each trial has a record or was reported as failed.
    """

    def run(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData], report: Report
    ) -> None: ...

    def close(self) -> None: ...


class InProcess:
    """One trial after another in this process, without Ray: for debugging and small machines."""

    def __init__(self, workspace: Workspace, retries: int) -> None:
        self.workspace, self.retries = workspace, retries

    def run(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData], report: Report
    ) -> None:
        worker = Worker(self.workspace.root, prepared, self.retries)
        for trial in trials:
            worker.assign(trial)
            while True:
                piece = worker.advance(SLICE_SECONDS)
                report(trial, piece)
                if piece.state in ("finished", "failed"):
                    break

    def close(self) -> None:
        """Nothing to let go of."""
