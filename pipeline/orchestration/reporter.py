"""What becomes of trials while Tune runs them: told, excused, or given up. Imports no Ray."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equigrid.orchestration.dispatch import OnSlice, Slice
from equigrid.planning.workspace import Failure, Workspace
from equigrid.trial import Trial

#: In Ray's reason where a process was told to end, or its node.
ORDERLY = "SIGTERM"
#: In Ray's reason where its memory monitor ended a process, and what it says of the memory.
LOW_MEMORY = re.compile(r"killed due to the node running low on memory(?:.* was (.*?) \()?")
TOO_LITTLE = "too little memory on its node"
#: Seconds that a trial which memory was too low for rests at first, and at most: others end.
REST, LONGEST_REST = 10.0, 300.0


class Reporter:
    """Tells of slices, and quarantines a trial whose process died more often than `retries`."""

    def __init__(
        self,
        trials: Mapping[str, Trial],
        workspace: Workspace,
        retries: int,
        on_slice: OnSlice,
    ) -> None:
        self.trials = trials
        self.workspace, self.retries, self.on_slice = workspace, retries, on_slice
        self.ended: set[str] = set()
        #: How often a trial's process died, in the calls of Tune that are over.
        self.deaths: Counter[str] = Counter()
        #: Those that have trained since their process last ended.
        self.trained: set[str] = set()
        #: What Tune gave up too soon, by key: to be run again.
        self.left: list[str] = []
        #: Epochs that each has trained; and how many others had, when memory was too low for one.
        self.epochs: Counter[str] = Counter()
        self.beside: Counter[str] = Counter()
        #: How often memory was too low for each.
        self.crowded: Counter[str] = Counter()

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        ours = self.trials[trial.config["key"]]
        piece = Slice(**result["slice"])
        if piece.state in ("finished", "failed"):
            self.ended.add(ours.key)
        if piece.epochs:
            self.trained.add(ours.key)
            self.epochs[ours.key] += len(piece.epochs)
        self.on_slice(ours, piece)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        ours = self.trials[trial.config["key"]]
        last, _details = _last_error(trial)
        excused, rest = self._is_excused(ours.key, last), self._rest(ours.key, last)
        trial.run_metadata.num_failures -= excused
        reason = f"its process ended: {last[:300]}"
        if rest:
            reason += f"; rests {rest:g} s: more `resources.cpu` would let fewer run at once"
        self.on_slice(ours, Slice("training", reason=reason))
        # Beside others it takes a place of theirs meanwhile; where there are none, even a process
        # that only waits is ended by Ray, as long as somebody else takes the memory.
        trial.config["rest"] = rest if excused else 0.0
        if not excused:
            time.sleep(rest)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        ours = self.trials[trial.config["key"]]
        last, details = _last_error(trial)
        excused = self._is_excused(ours.key, last)
        self.deaths[ours.key] += trial.run_metadata.num_failures - excused
        deaths = self.deaths[ours.key]
        if deaths <= self.retries:
            # Tune also gives up a trial that waits to start again, and hears once more of its end.
            self.left.append(ours.key)
            self.on_slice(ours, Slice("training", reason=f"its process ended: {last[:300]}"))
            return
        reason = f"its process died {deaths} times: {last[:300]}"
        failure = Failure(ours, reason, details, deaths)
        self.workspace.quarantine(failure)
        self.ended.add(ours.key)
        self.on_slice(ours, Slice("failed", reason=failure.reason))

    def _is_excused(self, key: str, last: str) -> bool:
        """Whether the end of a process is no failure of its trial's.

        Its node was taken away: only where the trial had trained; what is told to end before it
        can, again and again, is given up at some time. Or the memory was too low beside others: as
        long as they go on and so will end; not where it is too low for this trial alone.
        """
        had_trained = key in self.trained
        self.trained.discard(key)
        if not last.startswith(TOO_LITTLE):
            return had_trained and ORDERLY in last
        self.crowded[key] += 1
        others = self.epochs.total() - self.epochs[key]
        before, self.beside[key] = self.beside[key], others
        return before != others

    def _rest(self, key: str, last: str) -> float:
        """Seconds to wait before the next process: twice as long each time memory was too low."""
        if not last.startswith(TOO_LITTLE):
            return 0.0
        return min(REST * 2.0 ** (self.crowded[key] - 1), LONGEST_REST)


def _last_error(trial: Any) -> tuple[str, str]:
    """Why a trial's process ended at last, in a line; and all that Tune knows of its errors."""
    details = Path(trial.error_file).read_text("utf-8", "replace") if trial.error_file else ""
    # Ray's long advice comes behind what it is about.
    if found := LOW_MEMORY.search(details.rpartition("Failure # ")[2]):
        return f"{TOO_LITTLE} ({found[1] or 'as Ray measures it'})", details
    return (details.strip().splitlines() or ["no reason given"])[-1].strip(), details
