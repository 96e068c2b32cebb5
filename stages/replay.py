"""A tracked run, trained again from its record alone, and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.datasets.raw import RawStore
from pipeline.datasets.recipe import builder_of
from pipeline.datasets.store import read_arrays
from pipeline.files import InputError
from pipeline.orchestration.workspace import Workspace
from pipeline.record import Epoch, Record
from pipeline.tracking.tracked import last_known
from pipeline.training.checkpoint import TrialFiles
from pipeline.training.environment import environment
from pipeline.training.run import TrialRun, choose_device
from stages.augment_cache import augment_cache
from stages.data_build import data_build

#: How far a score may move on another stack (torch, processor, device) and count as the same.
TOLERANCE = 0.01
#: Of an environment: nothing that a sum of floats depends on.
HARMLESS = (
    "host", "cores", "git_commit", "ray", "mlflow", "h5py", "scikit-learn", "phiflow", "equigrid",
)  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """differences: of the numbers, one text each. bitwise: there are none, weights included.

    largest: the largest absolute difference of a validation or test score of the best epoch.
    same_stack: nothing that could move a number differs between the environments.
    """

    bitwise: bool
    same_stack: bool
    differences: tuple[str, ...]
    largest: float

    @property
    def agrees(self) -> bool:
        """Bitwise on the same stack, within TOLERANCE on another."""
        return self.bitwise or (not self.same_stack and self.largest <= TOLERANCE)


def environment_changes(record: Record, device: str) -> dict[str, tuple[str, str]]:
    """What differs between then and now: {name: (then, now)}."""
    then, now = record.environment, environment(device)
    return {
        name: (then.get(name, ""), now.get(name, ""))
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    }


def find_record(workspace: Workspace, what: str) -> Record:
    """The record behind the beginning of a run key or of an MLflow run id; InputError if none."""
    folder = workspace.record_file("").parent
    keys = {path.stem for path in folder.glob("*.json") if path.stem.startswith(what)}
    for cache in workspace.tracked_caches():
        tracked = last_known(cache)
        runs = tracked.runs.items() if tracked else ()
        keys |= {identity[-1] for identity, run in runs if run.run_id.startswith(what)}
    if len(keys) != 1:
        count = "no run" if not keys else f"{len(keys)} runs"
        raise InputError(
            f"{what}: {count} known in {workspace.root}; give more of a run key, or of an MLflow "
            "run id that `equigrid status` has seen"
        )
    record = workspace.record(keys.pop())
    if record is None:
        raise InputError(f"{what}: its record is not in {workspace.root}; a run brings it home")
    return record


def replay(record: Record, workspace: Workspace) -> Iterator[str | Replay]:
    """Train a record's trial again, outside the workspace; texts on the way, then the outcome."""
    device, trial = choose_device(), record.trial
    torch.set_num_threads(1)
    changes = environment_changes(record, device)
    for name, (then, now) in changes.items():
        yield f"environment: {name} was {then or 'not there'}, is {now or 'not there'}"
    if not changes:
        yield "environment: nothing differs"
    base = data_build(workspace, trial.data, RawStore(), lambda done, total: None)
    prepared = augment_cache(workspace, trial.data, base, lambda done, total: None)
    differences = []
    if prepared.cache_sha256 != record.data_sha256:
        differences.append(
            f"data: SHA-256 was {record.data_sha256[:12]}, is {prepared.cache_sha256[:12]}"
        )
    arrays = {
        **read_arrays(workspace.data_file(trial.data), expected_hash=base)[0],
        **read_arrays(workspace.cache_file(trial.data), expected_hash=prepared.cache_sha256)[0],
    }
    dataset = builder_of(trial.data).resident(arrays, device)
    with tempfile.TemporaryDirectory() as folder:
        run = TrialRun(
            trial, dataset, prepared.cache_sha256, TrialFiles.below(Path(folder)), device
        )
        while not run.done:
            scores = run.run_epoch()
            number = len(run.history)
            known = record.history[number - 1] if number <= len(record.history) else {}
            word = "same" if scores == known else "DIFFERS"
            yield f"epoch {number} of {len(record.history)}: {word}"
        again = run.finish()
    differences += _differences(record, again)
    moved = {name: now for name, (_, now) in changes.items() if name not in HARMLESS}
    yield Replay(not differences, not moved, tuple(differences), _largest(record, again))


def _scores(record: Record) -> Epoch:
    """The best epoch's validation scores and the test scores, flat."""
    scores = dict(record.validation)
    for split, values in (record.test or {}).items():
        scores |= {f"{split}/{name}": value for name, value in values.items()}
    return scores


def _differences(then: Record, now: Record) -> Iterator[str]:
    for number, (a, b) in enumerate(zip(then.history, now.history, strict=False), 1):
        if a != b:
            name = next(n for n in a if a[n] != b.get(n))
            yield f"epoch {number}: {name} was {a[name]!r}, is {b.get(name)!r}"
            break
    if len(then.history) != len(now.history):
        yield f"epochs: were {len(then.history)}, are {len(now.history)}"
    before, after = _scores(then), _scores(now)
    for name, value in before.items():
        if after.get(name) != value:
            yield f"{name} was {value!r}, is {after.get(name)!r}"
    if then.weights_sha256 != now.weights_sha256:
        yield "best weights: another hash"


def _largest(then: Record, now: Record) -> float:
    before, after = _scores(then), _scores(now)
    scores = [name for name in before if not name.endswith(("loss", "error"))]
    return max((abs(before[n] - after.get(n, float("inf"))) for n in scores), default=0.0)
