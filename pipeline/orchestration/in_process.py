"""One trial after another in this process, without Ray: for debugging and small machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import SLICE_SECONDS, OnSlice
from equigrid.orchestration.worker import Worker
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial


class InProcess:
    """See `Dispatcher`."""

    def __init__(self, workspace: Workspace, retries: int) -> None:
        self.workspace, self.retries = workspace, retries

    def run(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData], on_slice: OnSlice
    ) -> None:
        worker = Worker(self.workspace.root, prepared, self.retries)
        for trial in trials:
            worker.assign(trial)
            while True:
                piece = worker.advance(SLICE_SECONDS)
                on_slice(trial, piece)
                if piece.state in ("finished", "failed"):
                    break

    def close(self) -> None:
        """Nothing to let go of."""
