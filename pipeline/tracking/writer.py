"""A thread that sends records to MLflow; training never waits for it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from equigrid.errors import StoreError, masked
from equigrid.files import write_atomically
from equigrid.own_parts.blame import in_one_line
from equigrid.record import Record
from equigrid.tracking.database import damage
from equigrid.tracking.look import mlflow_imported, reason
from equigrid.tracking.store import Store, identity_of, read_refusals
from equigrid.trial import Trial

if TYPE_CHECKING:
    from equigrid.tracking.session import Session

log = logging.getLogger("equigrid")

#: Whether a trial's run changed.
Job = Callable[["Session"], bool]

#: Seconds between attempts while the store cannot be reached.
BACKOFF = (1.0, 2.0, 5.0, 10.0)
#: Seconds after which who waits looks again whether there is anybody to wait for.
LOOK = 0.5
#: Records that a server gets at once, and how many are handed out together.
AT_ONCE, TOGETHER = 8, 256


@dataclass(frozen=True)
class QueuedJob:
    """trial: whose record it is; such entries wait for nothing but the ones that are not."""

    job: Job
    trial: Trial | None = None


class Writer:
    """Takes records at once and logs them in the background; all else in its order among them.

    A server gets several records at a time: most of a run's time is waiting for its answers. While
    the store cannot be reached a record is tried again, until `flush` has waited `patience`
    seconds; it is durable in the workspace, and the next command sends it. A record that the store
    refuses is set aside with the reason, and those behind it go on.
    """

    patience = 10.0

    def __init__(self, store: Store) -> None:
        self.store = store
        self.unsent = 0
        self.error: str | None = None
        self._jobs: queue.Queue[QueuedJob | None] = queue.Queue()
        self._session: Session | None = None
        self._wrote = False
        #: The patience is spent, or the store is broken: what follows is not tried either.
        self._gave_up = False
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def record(self, trial: Trial, record: Record | Path) -> None:
        """Log a trial's record (given, or read from its file), unless it is tracked already."""
        self._jobs.put(QueuedJob(lambda session: session.record(trial, record), trial))

    def file(self, trial: Trial, path: Path) -> None:
        """Keep a file with a trial's run."""
        self._jobs.put(QueuedJob(lambda session: session.file(trial, path)))

    def failure(self, trial: Trial, reason: str) -> None:
        """Log a trial that was given up, with its reason."""
        now = time.time()
        self._jobs.put(QueuedJob(lambda session: session.failure(trial, reason, now)))

    def summary(
        self,
        arm: tuple[str, str],
        tags: Mapping[str, str],
        means: Mapping[str, float],
        seeds: int,
        stamp: float,
        note: str,
    ) -> None:
        """Put the selection and the mean test scores on the parent run of a row and dataset."""
        self._jobs.put(
            QueuedJob(lambda session: session.summary(arm, tags, means, seeds, stamp, note))
        )

    def table(
        self,
        tags: Mapping[str, str],
        files: Mapping[str, Path],
        digest: str,
        note: str,
        columns: Sequence[str],
    ) -> None:
        """Log a table's and report's files by their place among the artifacts, if they changed."""
        self._jobs.put(QueuedJob(lambda session: session.table(tags, files, digest, note, columns)))

    def flush(self) -> None:
        """Wait until what is queued is sent; gives up after `patience` seconds without an answer.

        From then on nothing is tried any more: the next command sends it.
        """
        self._jobs.put(QueuedJob(self._mark_change))
        self._deadline = time.monotonic() + self.patience
        with self._jobs.all_tasks_done:
            while self._jobs.unfinished_tasks and self._thread.is_alive():
                self._jobs.all_tasks_done.wait(LOOK)
        self._deadline = None

    def close(self) -> None:
        """Flush, end the thread, and say what could not be sent."""
        self.flush()
        self._jobs.put(None)
        self._thread.join()
        with suppress(queue.Empty):
            while True:  # a thread that has died leaves them
                left = self._jobs.get_nowait()
                self.unsent += left is not None and left.job != self._mark_change
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
        ended = False
        while not ended:
            entries = [self._jobs.get()]
            if self.store.is_server:
                with suppress(queue.Empty):
                    while len(entries) < TOGETHER:
                        entries.append(self._jobs.get_nowait())
            ended = entries[-1] is None
            for is_record, some in groupby(filter(None, entries), lambda it: it.trial is not None):
                for entry in self._at_once(list(some)) if is_record else some:
                    self._send(entry)
            for _ in entries:
                self._jobs.task_done()

    def _at_once(self, entries: list[QueuedJob]) -> list[QueuedJob]:
        """Send records side by side, each tried once; returns those that are left to send."""
        # Of two records of one run (its tests came later) the second one changes the first's run.
        trials = [identity_of(entry.trial) for entry in entries if entry.trial is not None]
        if len(entries) < 2 or len(set(trials)) < len(entries) or self._gave_up:
            return entries
        gone = threading.Event()

        def send(session: Session, entry: QueuedJob) -> bool | None:
            if gone.is_set():
                return None
            try:
                return entry.job(session)
            except Exception as error:  # noqa: BLE001 - looked at again when it is sent alone
                if not self._is_refusal(error):
                    gone.set()  # the others need not find out one by one
                return None

        try:
            session = self._connected()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                changed = list(pool.map(partial(send, session), entries))
        except BaseException:  # noqa: BLE001 - whatever it is, trying them one by one meets it again
            return entries
        self._wrote |= any(changed)
        left = [it for it, found in zip(entries, changed, strict=True) if found is None]
        if left:
            self._session = None  # it may not know of a run that the server has made
        for entry, found in zip(entries, changed, strict=True):
            if found is not None and entry.trial is not None:
                self._settle(entry.trial, None)
        return left

    def _connected(self) -> Session:
        """Raises StoreError: what a store says before it is given anything refuses nothing."""
        if self._session is None:
            from equigrid.tracking.session import Session

            try:
                self._session = Session(self.store)
            except Exception as error:
                raise StoreError(reason(self.store, error)) from error
        return self._session

    def _is_refusal(self, error: Exception) -> bool:
        if isinstance(error, StoreError):
            return False
        from equigrid.tracking.runs import is_refusal  # there was a session: MLflow is there

        return is_refusal(error)

    def _send(self, entry: QueuedJob) -> None:
        """Send what an entry has, whatever goes wrong: an entry left unsettled is waited for."""
        sent = False
        if not self._gave_up:
            try:
                with mlflow_imported():  # it takes a second; and where it fails, it fails again
                    import_module("equigrid.tracking.session")
                sent = self._tried(entry)
                self._gave_up = not sent
            except StoreError as error:
                self.error, self._gave_up = str(error), True
            except BaseException as error:  # noqa: BLE001 - of our own code: the others may do
                self.error = masked(in_one_line(error))
        self.unsent += not sent and entry.job != self._mark_change

    def _tried(self, entry: QueuedJob) -> bool:
        """Try again and again while the store cannot be reached; whether it was sent."""
        attempt, refused = 0, False
        while True:
            try:
                self._wrote |= entry.job(self._connected())
                if entry.trial is not None:
                    self._settle(entry.trial, None)
                return True
            except Exception as error:  # noqa: BLE001 - any failure of the store is looked at
                self._session = None
                if self._is_refusal(error):
                    # Once more with what the store knows now, in case ours was out of date.
                    if refused:
                        self._refused(entry.trial, error)
                        return True
                    refused = True
                    continue
                is_ours = isinstance(error, StoreError)
                self.error = str(error) if is_ours else masked(reason(self.store, error))
                if damage(self.store):
                    return False
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    return False
                time.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
                attempt += 1

    def _refused(self, trial: Trial | None, error: Exception) -> None:
        why = masked(" ".join(str(error).split())[:500])
        log.warning(
            "MLflow refuses %s: %s", "a summary" if trial is None else trial.describe(), why
        )
        if trial is not None:
            self._settle(trial, why)

    def _settle(self, trial: Trial, refusal: str | None) -> None:
        """Remember that the store refused a trial's record, or that it took it."""
        if (path := self.store.refusals) is None:
            return
        identity = identity_of(trial)
        try:
            known = read_refusals(path)
            if known.get(identity) == refusal:
                return
            known.pop(identity, None)
            if refusal is not None:
                known[identity] = refusal
            write_atomically(path, json.dumps([[*it, why] for it, why in known.items()], indent=1))
        except OSError as error:
            log.warning("what MLflow refuses is not kept, the next run finds out again: %s", error)
