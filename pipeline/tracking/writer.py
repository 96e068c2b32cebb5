"""One thread that sends records to MLflow; training never waits for it."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import write_atomically
from pipeline.record import Record
from pipeline.tracking.database import damage, follow_move
from pipeline.tracking.store import CHANGED, Store, read_refusals
from pipeline.trial import Trial

log = logging.getLogger("equigrid")

#: Takes the client, the experiment's id and its known runs; whether a trial's run changed.
Job = Callable[[Any, str, Any], bool]

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

        def job(client: Any, experiment: str, known: Any) -> bool:
            from pipeline.tracking import runs

            return runs.log_record(client, experiment, known, trial, record)

        self._jobs.put((job, trial))

    def failure(self, trial: Trial, reason: str) -> None:
        """Log a trial that was given up, with its reason."""
        now = time.time()

        def job(client: Any, experiment: str, known: Any) -> bool:
            from pipeline.tracking import runs

            return runs.log_failure(client, experiment, known, trial, reason, now)

        self._jobs.put((job, None))

    def summary(
        self,
        group: tuple[str, str],
        tags: Mapping[str, str],
        means: Mapping[str, float],
        seeds: int,
        stamp: float,
    ) -> None:
        """Put the selection and the mean test scores on the parent run of a row and dataset."""

        def job(client: Any, experiment: str, known: Any) -> bool:
            from pipeline.tracking import runs

            return runs.log_summary(client, experiment, known, group, tags, means, seeds, stamp)

        self._jobs.put((job, None))

    def table(self, texts: Mapping[str, str], files: Mapping[str, Path], digest: str) -> None:
        """Log a table's and report's files by their place among the artifacts, if they changed."""

        def job(client: Any, experiment: str, known: Any) -> bool:
            from pipeline.tracking import runs

            return runs.log_table(client, experiment, known, texts, files, digest)

        self._jobs.put((job, None))

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

    def _mark_change(self, client: Any, experiment: str, known: Any) -> bool:
        """Readers of a server keep what they read until this tag moves on."""
        if self._wrote and not self.store.uri.startswith("sqlite:"):
            client.set_experiment_tag(experiment, CHANGED, str(time.time_ns()))
        self._wrote = False
        return False

    def _work(self) -> None:
        connection: tuple[Any, str, Any] | None = None
        while (entry := self._jobs.get()) is not None:
            job, trial = entry
            attempt, refused, sent = 0, False, False
            # Once the patience is spent, or the store is broken, what follows is not tried either.
            while not sent and not self.unsent:
                try:
                    connection = connection or self._connect()
                    self._wrote |= job(*connection)
                    sent = True
                    if trial is not None:
                        self._settle(trial, None)
                except Exception as error:  # noqa: BLE001 - any failure of the store is looked at
                    from pipeline.tracking import runs

                    connection = None
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

    def _connect(self) -> tuple[Any, str, Any]:
        from pipeline.tracking import runs

        client = runs.connect(self.store.uri)
        follow_move(self.store)
        experiment = runs.experiment_id(
            client, self.store.experiment, self.store.artifact_folder, self.store.uri
        )
        return client, experiment, runs.known_runs(client, experiment)
