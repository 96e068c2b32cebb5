"""What runs a trial, one slice at a time: in a Ray actor, in the driver, in the foreground."""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from equigrid.datasets.resident import Dataset
from equigrid.datasets.store import Arrays, PreparedData
from equigrid.errors import InputError, LockedError, TrainingDivergedError
from equigrid.orchestration.dispatch import Slice
from equigrid.own_parts.user_errors import in_one_line
from equigrid.planning.failing_alike import FIRST_BATCH
from equigrid.planning.open_run import open_arrays, resident
from equigrid.planning.workspace import Failure, Workspace
from equigrid.training.memory import give_back, keep_freed
from equigrid.training.model import choose_device
from equigrid.training.run import TrialRun
from equigrid.training.torch_loop import TorchLoop
from equigrid.trial import Trial, data_key

#: What is wrong with code, and so comes again whenever it runs.
OF_CODE = (
    ArithmeticError, AssertionError, AttributeError, ImportError, InputError, LookupError,
    NameError, NotImplementedError, TypeError, ValueError, TrainingDivergedError,
)  # fmt: skip


def _comes_again(error: Exception, device: str) -> bool:
    """Whether an error would be the same in another attempt.

    Torch says of wrong shapes, of a device and of memory that is not there RuntimeError alike; its
    subclasses are the machine's.
    """
    if type(error) is RuntimeError:
        return device == "cpu" and "alloc" not in str(error)
    return isinstance(error, OF_CODE)


@dataclass
class Worker:
    """Keeps the datasets it has opened; runs one trial after another."""

    root: Path
    prepared: Mapping[str, PreparedData]
    retries: int
    device: str = field(default_factory=choose_device)
    #: Bytes of freed memory that this process keeps at most.
    kept: int = field(init=False)
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _run: TrialRun | None = None
    _trial: Trial | None = None
    _attempts: int = 0
    _claim: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        # One thread a trial: two side by side do 1.6 times the work of one with two threads,
        # and the sums come out the same to the bit wherever they run.
        torch.set_num_threads(1)
        self.kept = keep_freed(self.device)
        self.workspace = Workspace(self.root)

    def assign(self, trial: Trial) -> None:
        """Take a trial; nothing that can fail happens before `advance`."""
        self.drop()
        self._trial, self._attempts = trial, 0

    def drop(self) -> None:
        """Let go of the trial at hand; its checkpoints stay."""
        had_run, self._run = self._run is not None, None
        self._trial = None
        self._claim.close()
        if had_run and self.kept:
            give_back()

    def advance(self, seconds: float) -> Slice:
        """Run whole epochs for about `seconds`.

        An error that may not come again is tried again from the last checkpoint, `retries` times;
        then the trial is quarantined with its traceback and the slice says `failed`.
        """
        assert self._trial is not None
        try:
            return self._advance(seconds)
        except LockedError:
            # An orphan of a killed driver still trains it: it finishes or dies with its raylet.
            time.sleep(min(seconds, 0.5))
            return Slice("waiting")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return self._failed(error)
            # Nothing is wrong with the trial, and there is no room for a quarantine either.
            self.drop()
            return Slice("failed", reason=f"disk full: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a user's model raises is its result
            return self._failed(error)

    def try_batch(self, trial: Trial) -> Failure | None:
        """Why a trial cannot train, by its first batch; None where it can, or where nobody knows.

        What may be the machine's fault is left for the trial itself to meet, and to try again.
        """
        try:
            TorchLoop(trial, self._dataset(trial), self.device).try_batch()
        except Exception as error:  # noqa: BLE001 - whatever a user's model raises is its result
            if not _comes_again(error, self.device):
                return None
            reason = f"{FIRST_BATCH}{in_one_line(error)}"
            return Failure(trial, reason, traceback.format_exc(), attempts=1)
        return None

    def _failed(self, error: Exception) -> Slice:
        assert self._trial is not None
        self._run = None
        self._attempts += 1
        if self._attempts <= self.retries and not _comes_again(error, self.device):
            return Slice("training", reason=f"attempt {self._attempts} failed: {error}")
        reason = in_one_line(error)
        failure = Failure(self._trial, reason, traceback.format_exc(), self._attempts)
        self.workspace.quarantine(failure)
        self.drop()
        return Slice("failed", reason=reason)

    def _advance(self, seconds: float) -> Slice:
        assert self._trial is not None
        begun, rows = time.monotonic(), []
        if self._run is None:
            self._claim.close()
            self._claim.enter_context(self.workspace.claim(self._trial.key))
            self._run = TrialRun(
                self._trial,
                self._dataset(self._trial),
                self.prepared[data_key(self._trial.data)].cache_sha256,
                self.workspace.trial_files(self._trial),
                self.device,
            )
        while not self._run.done:
            rows.append(self._run.run_epoch())
            if time.monotonic() - begun >= seconds:
                break
        done = len(self._run.history)
        if not self._run.done:
            return Slice("training", tuple(rows), epochs_done=done)
        self._run.finish()
        self.drop()
        return Slice("finished", tuple(rows), epochs_done=done)

    def _dataset(self, trial: Trial) -> Dataset:
        key = data_key(trial.data)
        if key not in self._datasets:
            arrays = self._arrays(trial)
            self._datasets[key] = resident(trial.data, arrays, self.device)
        return self._datasets[key]

    def _arrays(self, trial: Trial) -> Arrays:
        hashes = self.prepared[data_key(trial.data)]
        return open_arrays(self.workspace, trial.data, hashes.base_sha256, hashes.cache_sha256)
