"""One trial after another in this process, without Ray: for debugging and small machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import SLICE_SECONDS, MayBegin, OnSlice, all_may
from equigrid.orchestration.worker import Worker
from equigrid.planning.workspace import Failure, Workspace
from equigrid.trial import Trial


class InProcess:
    """See `Dispatcher`."""

    def __init__(self, workspace: Workspace, retries: int) -> None:
        self.workspace, self.retries = workspace, retries

    def try_batches(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData]
    ) -> list[Failure]:
        worker = Worker(self.workspace.root, prepared, self.retries)
        return [failure for it in trials if (failure := worker.try_batch(it)) is not None]

    def run(
        self,
        trials: Sequence[Trial],
        prepared: Mapping[str, PreparedData],
        on_slice: OnSlice,
        may_begin: MayBegin = all_may,
    ) -> None:
        worker = Worker(self.workspace.root, prepared, self.retries)
        for trial in filter(may_begin, trials):
            worker.assign(trial)
            while True:
                piece = worker.advance(SLICE_SECONDS)
                on_slice(trial, piece)
                if piece.state in ("finished", "failed"):
                    break

    def close(self) -> None:
        """Nothing to let go of."""
