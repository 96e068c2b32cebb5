"""Trials as Ray Tune trials, in actors that are used again."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from equigrid.config.schema import ResourcesSpec
from equigrid.datasets.store import PreparedData
from equigrid.errors import EndedEarlyError
from equigrid.machine import cluster
from equigrid.orchestration.dispatch import SLICE_SECONDS, MayBegin, OnSlice, Slice, all_may
from equigrid.orchestration.printed import printed_to
from equigrid.orchestration.ray_start import start_ray
from equigrid.orchestration.reporter import Reporter
from equigrid.own_parts.beside import importable
from equigrid.planning.workspace import Failure, Workspace
from equigrid.trial import Trial

# Read by Ray and Tune when they are imported. Loggers off: 304 files less for 60 trials. Without
# Tune's own handler Ctrl-C is a KeyboardInterrupt; with it an interrupted run looks complete.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# Nothing is ever restored from Tune's own state, and writing it costs 30 ms a trial every time.
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1e9")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Neither has any effect any more, but Tune ends with a traceback where one of them is set.
os.environ.pop("TUNE_RESULT_DIR", None)
os.environ.pop("RAY_AIR_LOCAL_CACHE_DIR", None)

import ray
from ray import tune
from ray.air._internal import usage
from ray.exceptions import RayError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.execution import class_cache
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    from equigrid.orchestration.remote_worker import RemoteWorker
    from equigrid.orchestration.worker import Worker

log = logging.getLogger("equigrid")
# What did not complete is told here, and is not always over.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)

#: Trials that wait for room at least: nodes that join later find them.
PENDING = 16
#: Seconds in which a worker that is told to end gets its checkpoint to the workspace.
RESCUE_SECONDS = 10.0
#: Seconds of the longest slice.
LONGEST_SLICE = 60.0

# Tune gives its actors environment variables of their own. Ray logs them word for word, the
# driver's storage keys too (ours use no storage); and an actor that has any cannot take a process
# that Ray has started already. What every process gets is in `start_ray`.
class_cache.ENV_VARS_TO_PROPAGATE = {
    name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")
}
class_cache.DEFAULT_ENV_VARS = {}
# Tune counts kinds of callbacks for usage statistics, which are off: it imports MLflow for that.
usage.tag_callbacks = lambda callbacks: False


class SliceLength:
    """How long a worker's slices are: longer, the longer the driver lets it wait between them.

    A slice costs the driver some 3 ms, so that it falls behind hundreds of workers' one a second.
    """

    def __init__(self, seconds: float = SLICE_SECONDS) -> None:
        self.seconds = seconds
        self._ended: float | None = None

    def begin(self, now: float) -> float:
        """The length of a slice that begins now: waiting shall take less than a tenth of it."""
        if self._ended is not None and now - self._ended > self.seconds / 10:
            self.seconds = min(2 * self.seconds, LONGEST_SLICE)
        return self.seconds

    def end(self, now: float) -> None:
        self._ended = now

    def rest(self) -> None:
        """Waiting between two trials is none between slices."""
        self._ended = None


def rescue_on_sigterm(worker: RemoteWorker) -> None:
    """The checkpoint goes to the workspace; then this process ends as by Ray's own handler."""
    by_ray = signal.getsignal(signal.SIGTERM)

    def rescue(number: int, frame: FrameType | None) -> None:
        # In a thread: this one may be in the midst of a call to Ray.
        thread = threading.Thread(target=worker.rescue, daemon=True)
        thread.start()
        thread.join(RESCUE_SECONDS)
        if callable(by_ray):
            by_ray(number, frame)

    signal.signal(signal.SIGTERM, rescue)


def make_worker(context: Mapping[str, Any]) -> Worker:
    """A worker in the workspace where this node sees it, else one whose files are carried."""
    # Here alone: without torch the driver, which only dispatches, starts a second earlier.
    from equigrid.orchestration.remote_worker import RemoteWorker
    from equigrid.orchestration.worker import Worker

    importable(context["module_folder"])
    settings = context["prepared"], context["retries"], context["device"]
    if context["workspace_server"] is None or context["marker"].exists():
        return Worker(context["root"], *settings)
    distant = RemoteWorker(context["workspace_server"], *settings)
    rescue_on_sigterm(distant)
    return distant


def try_batch(context: Mapping[str, Any], trial: Trial) -> Failure | None:
    """See `Worker.try_batch`; in a process of Ray's."""
    return make_worker(context).try_batch(trial)


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """A Worker behind Tune's interface: a step is a slice of a second or more."""

    def setup(self, config: dict[str, Any], context: dict[str, Any] | None = None) -> None:
        assert context is not None
        self.context = context
        self.trials: Mapping[str, Trial] = context["trials"]
        self.worker: Worker | None = None
        self.slice_length = SliceLength(context["slice_seconds"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # An error here is not retried by Tune: only store the trial.
        self.trial = self.trials[new_config["key"]]
        self.rested = time.monotonic() + new_config.get("rest", 0.0)
        if self.worker is not None:
            self.worker.assign(self.trial)
        self.slice_length.rest()
        return True

    def step(self) -> dict[str, Any]:
        seconds = self.slice_length.begin(time.monotonic())
        if (left := self.rested - time.monotonic()) > 0:
            time.sleep(min(left, seconds))
            piece = Slice("waiting")
        else:
            worker = self._working()
            with printed_to(worker.workspace.printed_file(self.trial.key)):
                piece = worker.advance(seconds)
        self.slice_length.end(time.monotonic())
        return {"slice": asdict(piece), "done": piece.state in ("finished", "failed")}

    def _working(self) -> Worker:
        """Made when there is work: torch alone takes 300 MB, which a trial that rests leaves."""
        if self.worker is None:
            self.worker = make_worker(self.context)
            self.worker.assign(self.trial)
        return self.worker

    def cleanup(self) -> None:
        if self.worker is not None:
            self.worker.drop()


def _not_kept(_: object) -> tuple[Any, ...]:
    """Pickle nothing: Tune writes to disk what it is given; ours holds live objects."""
    return (object, ())


class _Queue(Searcher):  # type: ignore[misc]
    """Hands out the keys in order, but for those that may not begin.

    A grid of Tune's own is copied whole for every trial in it: 56 s before the first of 10 000.
    """

    def __init__(self, keys: Sequence[str], may_begin: Callable[[str], bool]) -> None:
        super().__init__()
        self._left, self._may_begin = list(reversed(keys)), may_begin

    def suggest(self, trial_id: str) -> Any:
        while self._left:
            if self._may_begin(key := self._left.pop()):
                return {"key": key}
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing is learnt from a trial: the grid is the user's."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is ever restored."""

    restore = save

    __reduce__ = _not_kept


class _Callback(Reporter, Callback):  # type: ignore[misc]
    """A reporter, of the class that Tune asks for."""

    __reduce__ = _not_kept


class RayTune:
    """Dispatches through Ray Tune: on this machine, or on the cluster `RAY_ADDRESS` names.

    There a workspace server serves nodes that do not see the workspace. module_folder: where
    workers find the code beside a search space.
    """

    def __init__(
        self,
        workspace: Workspace,
        retries: int,
        resources: ResourcesSpec,
        module_folder: Path,
        slice_seconds: float = SLICE_SECONDS,
    ) -> None:
        self.workspace, self.retries, self.resources = workspace, retries, resources
        self.module_folder, self.slice_seconds = module_folder, slice_seconds
        self.is_cluster = cluster() is not None
        if not ray.is_initialized():
            start_ray()

    def try_batches(
        self, trials: Sequence[Trial], prepared: Mapping[str, PreparedData]
    ) -> list[Failure]:
        need, scratch = self._need(), self._scratch()
        if self.is_cluster:
            self._say_what_fits_nowhere(need)
        options = {"num_cpus": need["cpu"], "num_gpus": need.get("gpu", 0), "max_retries": 0}
        task = ray.remote(try_batch).options(**options)
        context = ray.put(self._context(prepared, scratch))
        found = []
        try:
            for promised in [task.remote(context, trial) for trial in trials]:
                try:
                    failure = ray.get(promised)
                except RayError as error:
                    # Its process ended: the trial meets that itself, and it is dealt with there.
                    log.info("a first batch was not tried: %s", " ".join(str(error).split())[:200])
                    continue
                if failure is not None:
                    found.append(failure)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return found

    def run(
        self,
        trials: Sequence[Trial],
        prepared: Mapping[str, PreparedData],
        on_slice: OnSlice,
        may_begin: MayBegin = all_may,
    ) -> None:
        scratch = self._scratch()
        by_key = {trial.key: trial for trial in trials}
        reporter = _Callback(by_key, self.workspace, self.retries, on_slice)
        need = self._need()
        if self.is_cluster:
            self._say_what_fits_nowhere(need)
        # As many at once as there is room for: of itself Tune starts one after the other.
        pending = max(PENDING if self.is_cluster else 1, self._slots(need))
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(pending)
        context = self._context(prepared, scratch) | {"trials": by_key}
        actor = tune.with_resources(tune.with_parameters(TrialActor, context=context), need)
        reporter.left = list(by_key)
        kept_back: set[str] = set()

        def key_may_begin(key: str) -> bool:
            if may_begin(by_key[key]):
                return True
            kept_back.add(key)
            return False

        try:
            while keys := reporter.left:
                reporter.left = []
                self._fit(actor, keys, reporter, scratch, key_may_begin)
        except (RayError, tune.TuneError) as error:
            # Its housekeeping waits a minute for an answer: no process gives one that is suspended.
            raise EndedEarlyError(
                f"Ray has given up, as it may where a machine was suspended or its processes were "
                f"ended: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        told = reporter.ended | kept_back
        self._account_for([trial for trial in trials if trial.key not in told], on_slice)

    def _scratch(self) -> Path:
        # One driver a workspace: what is in there was left by a driver that was killed.
        shutil.rmtree(self.workspace.tune_folder, ignore_errors=True)
        self.workspace.tune_folder.mkdir(parents=True)
        return Path(tempfile.mkdtemp(dir=self.workspace.tune_folder))

    def _need(self) -> dict[str, float]:
        """What a trial takes."""
        need = {"cpu": self.resources.cpu}
        if self.resources.gpu and ray.cluster_resources().get("GPU"):
            need["gpu"] = self.resources.gpu
        return need

    def _context(self, prepared: Mapping[str, PreparedData], scratch: Path) -> dict[str, Any]:
        """What makes a worker."""
        return {
            "root": self.workspace.root,
            "marker": self._marker(scratch),
            "workspace_server": self._workspace_server(prepared) if self.is_cluster else None,
            "slice_seconds": self.slice_seconds,
            "prepared": dict(prepared),
            "retries": self.retries,
            "module_folder": self.module_folder,
            "device": "cuda" if "gpu" in self._need() else "cpu",
        }

    def _fit(
        self,
        actor: Any,
        keys: Sequence[str],
        reporter: Reporter,
        scratch: Path,
        may_begin: Callable[[str], bool],
    ) -> None:
        Tuner(
            actor,
            tune_config=TuneConfig(
                search_alg=_Queue(keys, may_begin),
                num_samples=len(keys),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
                trial_name_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=RunConfig(
                name=Path(tempfile.mkdtemp(dir=scratch)).name,
                storage_path=str(scratch),
                callbacks=[reporter],
                # What a trial needs to go on is in the workspace; Tune keeps nothing of it.
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
                failure_config=FailureConfig(max_failures=self.retries),
                verbose=0,
            ),
        ).fit()

    def _say_what_fits_nowhere(self, need: Mapping[str, float]) -> None:
        """A cluster may grow: it is waited for, and not in silence."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if any(all(it.get(n.upper(), 0.0) >= amount for n, amount in need.items()) for it in nodes):
            return
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in need.items())
        there = "; ".join(
            ", ".join(f"{n} {it.get(n.upper(), 0.0):g}" for n in need) for it in nodes
        )
        log.warning(
            "a trial wants %s, and no node has that (%s): waiting for one to join", wanted, there
        )

    def _slots(self, need: Mapping[str, float]) -> int:
        """How many trials the cluster, as it is now, has room for."""
        there = ray.cluster_resources()
        return int(min(there.get(name.upper(), 0.0) / amount for name, amount in need.items()))

    def _marker(self, scratch: Path) -> Path:
        """A file that exactly the nodes see which share the workspace."""
        marker = scratch / "seen"
        marker.touch()
        return marker

    def _workspace_server(self, prepared: Mapping[str, PreparedData]) -> Any:
        """An actor on the driver's own node, which has the workspace."""
        from equigrid.orchestration.remote_worker import WorkspaceServer

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": here, "max_concurrency": 1}
        return (
            ray.remote(WorkspaceServer)
            .options(**options)
            .remote(self.workspace.root, dict(prepared))
        )

    def _account_for(self, trials: Sequence[Trial], on_slice: OnSlice) -> None:
        """Tune's status is no evidence: what it never told of is looked up in the workspace."""
        for trial in trials:
            if self.workspace.record(trial.key) is None:
                reason = "Ray Tune ended without running it"
                on_slice(trial, Slice("failed", reason=reason))
            else:
                on_slice(trial, Slice("finished"))

    def close(self) -> None:
        ray.shutdown()
