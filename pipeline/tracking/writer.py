"""One thread that sends records to MLflow; training never waits for it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files import write_atomically
from pipeline.record import Record
from pipeline.tracking.database import damage
from pipeline.tracking.store import Store, read_refusals
from pipeline.trial import Trial

if TYPE_CHECKING:
    from pipeline.tracking.session import Session

log = logging.getLogger("equigrid")

#: Whether a trial's run changed.
Job = Callable[["Session"], bool]

#: Seconds between attempts while the store cannot be reached.
BACKOFF = (1.0, 2.0, 5.0, 10.0)


class Writer:
    """Takes records at once and logs them in the background, in order.

    While the store cannot be reached a record is tried again, until `flush` has waited `patience`
    seconds; it is durable in the workspace, and the next command sends it. A record that the store
    refuses is set aside with the reason, and those behind it go on.
    """

    patience = 10.0

    def __init__(self, store: Store) -> None:
        self.store = store
        self.unsent = 0
        self.error: str | None = None
        self._jobs: queue.Queue[tuple[Job, Trial | None] | None] = queue.Queue()
        self._wrote = False
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def record(self, trial: Trial, record: Record | Path) -> None:
        """Log a trial's record (given, or read from its file), unless it is tracked already."""
        self._jobs.put((lambda session: session.record(trial, record), trial))

    def file(self, trial: Trial, path: Path) -> None:
        """Keep a file with a trial's run."""
        self._jobs.put((lambda session: session.file(trial, path), None))

    def failure(self, trial: Trial, reason: str) -> None:
        """Log a trial that was given up, with its reason."""
        now = time.time()
        self._jobs.put((lambda session: session.failure(trial, reason, now), None))

    def summary(
        self,
        arm: tuple[str, str],
        tags: Mapping[str, str],
        means: Mapping[str, float],
        seeds: int,
        stamp: float,
    ) -> None:
        """Put the selection and the mean test scores on the parent run of a row and dataset."""
        self._jobs.put((lambda session: session.summary(arm, tags, means, seeds, stamp), None))

    def table(self, tags: Mapping[str, str], files: Mapping[str, Path], digest: str) -> None:
        """Log a table's and report's files by their place among the artifacts, if they changed."""
        self._jobs.put((lambda session: session.table(tags, files, digest), None))

    def flush(self) -> None:
        """Wait until what is queued is sent; gives up after `patience` seconds without an answer.

        From then on nothing is tried any more: the next command sends it.
        """
        self._jobs.put((self._mark_change, None))
        self._deadline = time.monotonic() + self.patience
        self._jobs.join()
        self._deadline = None

    def close(self) -> None:
        """Flush, end the thread, and say what could not be sent."""
        self.flush()
        self._jobs.put(None)
        self._thread.join()
        if self.unsent:
            log.warning(
                "%d entries are not in MLflow yet (%s); their records are safe in the workspace, "
                "and the next run sends them", self.unsent, self.error,
            )  # fmt: skip

    def _mark_change(self, session: Session) -> bool:
        if self._wrote:
            session.mark_change()
        self._wrote = False
        return False

    def _work(self) -> None:
        session: Session | None = None
        while (entry := self._jobs.get()) is not None:
            job, trial = entry
            attempt, refused, sent = 0, False, False
            # Once the patience is spent, or the store is broken, what follows is not tried either.
            while not sent and not self.unsent:
                try:
                    from pipeline.tracking.session import Session  # MLflow takes a second

                    session = session or Session(self.store)
                    self._wrote |= job(session)
                    sent = True
                    if trial is not None:
                        self._settle(trial, None)
                except Exception as error:  # noqa: BLE001 - any failure of the store is looked at
                    from pipeline.tracking import runs

                    session = None
                    self.error = f"{type(error).__name__}: {error}"
                    if runs.is_refusal(error):
                        # Once more with what the store knows now, in case ours was out of date.
                        sent = refused
                        if refused:
                            self._refused(trial, error)
                        refused = True
                        continue
                    if broken := damage(self.store):
                        self.error = broken
                        break
                    if self._deadline is not None and time.monotonic() >= self._deadline:
                        break
                    time.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
                    attempt += 1
            self.unsent += not sent and job != self._mark_change
            self._jobs.task_done()

    def _refused(self, trial: Trial | None, error: Exception) -> None:
        reason = " ".join(str(error).split())[:500]
        log.warning(
            "MLflow refuses %s: %s", "a summary" if trial is None else trial.describe(), reason
        )
        if trial is not None:
            self._settle(trial, reason)

    def _settle(self, trial: Trial, refusal: str | None) -> None:
        """Remember that the store refused a trial's record, or that it took it."""
        if self.store.refusals is None:
            return
        known = read_refusals(self.store.refusals)
        identity = (trial.row, trial.dataset, trial.role, trial.key)
        if known.get(identity) == refusal:
            return
        known.pop(identity, None)
        if refusal is not None:
            known[identity] = refusal
        entries = [[*each, reason] for each, reason in known.items()]
        write_atomically(self.store.refusals, json.dumps(entries, indent=1))
