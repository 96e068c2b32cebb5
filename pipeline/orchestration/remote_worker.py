"""Trials on nodes that do not see the workspace: what they need and make travels through Ray.

A `WorkspaceServer` lives beside the driver and alone touches the workspace. A `RemoteWorker` trains
in a folder of its own node; data comes once a node through the object store, checkpoints and
results go back, so that a trial whose node is lost goes on elsewhere from its last checkpoint.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from equigrid.datasets.store import Arrays, PreparedData
from equigrid.files import write_atomically
from equigrid.orchestration.dispatch import Slice
from equigrid.orchestration.worker import Worker
from equigrid.planning.open_run import open_arrays
from equigrid.planning.workspace import Failure, Workspace
from equigrid.record import TrialFiles
from equigrid.trial import Trial, data_key

#: Seconds between two checkpoints that are carried; what was trained since is lost with a node.
CARRY_SECONDS = 30.0
#: Where the server has more to carry than it can, a worker waits for it a tenth of its time.
CARRY_SHARE = 0.1

#: Of a trial's files, in the order they are written: a record is complete only with its weights.
CHECKPOINT, PRINTED = ("checkpoint",), ("printed",)
RESULTS = ("state", *PRINTED, "weights", "record")


#: What the name of a further file of a run begins with, on the way.
ARTIFACT = "artifact/"

#: Files by name: as arrays, which are read where Ray put them. Bytes would be copied once more.
Contents = Mapping[str, "npt.NDArray[np.uint8]"]


class WorkspaceServer:
    """Reads and writes the workspace for workers elsewhere; an actor beside the driver."""

    def __init__(self, root: Path, prepared: Mapping[str, PreparedData]) -> None:
        self.workspace, self.prepared = Workspace(root), prepared
        self._arrays: dict[str, Any] = {}

    def arrays(self, trial: Trial) -> list[Any]:
        """A reference to the dataset's arrays: read once, fetched once by each node."""
        key = data_key(trial.data)
        if key not in self._arrays:
            hashes = self.prepared[key]
            found = open_arrays(self.workspace, trial.data, hashes.base_sha256, hashes.cache_sha256)
            self._arrays[key] = ray.put(dict(found))
        return [self._arrays[key]]

    def files(self, trial: Trial) -> Contents:
        """What the workspace has of a trial: to go on with, or only to be tested."""
        files = self.workspace.trial_files(trial)
        names = (*CHECKPOINT, *RESULTS)
        return _read(files, [name for name in names if _path(files, name).exists()])

    def keep(self, trial: Trial, contents: Contents) -> None:
        """Make a trial's files durable here."""
        files = self.workspace.trial_files(trial)
        for name, content in contents.items():
            # What a record speaks of is there before it.
            write_atomically(_path(files, name), content.data, durable=name not in CHECKPOINT)
        if "record" in contents:
            files.checkpoint.unlink(missing_ok=True)

    def quarantine(self, failure: Failure) -> None:
        self.workspace.quarantine(failure)


class RemoteWorker(Worker):
    """A worker whose workspace is a temporary folder, filled and emptied by a workspace server."""

    def __init__(
        self, workspace_server: Any, prepared: Mapping[str, PreparedData], retries: int, device: str
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="equigrid-")
        super().__init__(Path(self._folder.name), prepared, retries, device)
        self._workspace_server = workspace_server
        self._fetched, self._due = False, 0.0

    def assign(self, trial: Trial) -> None:
        super().assign(trial)
        self._fetched = False

    def advance(self, seconds: float) -> Slice:
        assert self._trial is not None
        trial = self._trial
        files = self.workspace.trial_files(trial)
        if not self._fetched:
            for name, content in ray.get(self._workspace_server.files.remote(trial)).items():
                write_atomically(_path(files, name), content.data, durable=False)
            self._fetched, self._due = True, time.monotonic() + CARRY_SECONDS
        piece = super().advance(seconds)
        if piece.state == "finished":
            self._carry(trial, files, RESULTS)
            for name in RESULTS:
                _path(files, name).unlink(missing_ok=True)
        elif piece.state == "failed":
            failure = self.workspace.failure(trial.key)
            if failure is not None:
                self._carry(trial, files, PRINTED)
                files.printed.unlink(missing_ok=True)
                ray.get(self._workspace_server.quarantine.remote(failure))
                self.workspace.release(trial.key)
        elif (begun := time.monotonic()) >= self._due:
            self._carry(trial, files, CHECKPOINT)
            ended = time.monotonic()
            self._due = ended + max(CARRY_SECONDS, (ended - begun) / CARRY_SHARE)
        return piece

    def rescue(self) -> None:
        """Carry the last checkpoint: this node goes away, and its folder with it."""
        if (trial := self._trial) is None or not self._fetched:
            return
        files = self.workspace.trial_files(trial)
        # While a checkpoint is being written there is only the one before.
        for path in (files.checkpoint, files.previous_checkpoint):
            if path.exists():
                contents = {"checkpoint": np.fromfile(path, np.uint8)}
                ray.get(self._workspace_server.keep.remote(trial, contents))
                return

    def _carry(self, trial: Trial, files: TrialFiles, names: tuple[str, ...]) -> None:
        there = [name for name in names if _path(files, name).exists()]
        if names == RESULTS and files.artifacts.is_dir():
            there = [*(f"{ARTIFACT}{it.name}" for it in files.artifacts.iterdir()), *there]
        ray.get(self._workspace_server.keep.remote(trial, _read(files, there)))

    def _arrays(self, trial: Trial) -> Arrays:
        (reference,) = ray.get(self._workspace_server.arrays.remote(trial))
        arrays: Arrays = ray.get(reference)
        return arrays


def _read(files: TrialFiles, names: Sequence[str]) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: np.fromfile(_path(files, name), np.uint8) for name in names}


def _path(files: TrialFiles, name: str) -> Path:
    if name.startswith(ARTIFACT):
        return files.artifacts / name.removeprefix(ARTIFACT)
    path: Path = getattr(files, name)
    return path
