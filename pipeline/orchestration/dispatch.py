"""Running trials: the interface that the stages see. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from equigrid.datasets.store import PreparedData
from equigrid.planning.workspace import Failure
from equigrid.record import Epoch
from equigrid.trial import Trial

#: A slice is whole epochs for about this long: one result a second costs Tune nothing.
SLICE_SECONDS = 1.0


@dataclass(frozen=True)
class Slice:
    """What happened to a trial since the last one. state: training, waiting, finished, failed.

    epochs: those run in this slice; epochs_done: all of the trial's. reason: of a failure.
    """

    state: str
    epochs: tuple[Epoch, ...] = ()
    reason: str = ""
    epochs_done: int = 0


OnSlice = Callable[[Trial, Slice], None]
#: Asked before a trial is begun: whether it may be.
MayBegin = Callable[[Trial], bool]


def all_may(_: Trial) -> bool:
    return True


class Dispatcher(Protocol):
    """Runs trials where there is room for them. prepared: data files by data key."""

    def try_batches(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData]
    ) -> list[Failure]:
        """Take a batch of each through forward, loss and backward; returns what cannot train."""

    def run(
        self,
        trials: Sequence[Trial],
        prepared: Mapping[str, PreparedData],
        on_slice: OnSlice,
        may_begin: MayBegin = all_may,
    ) -> None:
        """Run trials to their end; `on_slice` is told of every slice, in this thread.

        Afterwards each has a record, was reported as failed, or could not begin.
        """

    def close(self) -> None: ...
