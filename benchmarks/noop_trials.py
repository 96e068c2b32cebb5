"""What a trial costs that trains nothing: dispatch, claim, durable record, result.

The trials are majority-class predictors on the quickstart's C4 data that differ by seed: a worker
opens the data once, counts labels and writes a record (fsync) for each trial. They go through

- the same worker in this process, without Ray: what a trial costs by itself;
- a plain ray.util.ActorPool of as many actors as cores: that worker without Tune, and actors that
  do nothing at all (the floor of dispatching over Ray);
- the dispatcher of `equigrid run`: Ray Tune, actors used again.

Fixed start-up is shown beside: ray.init, and until the first trial is back. Goal: at most 0.05 s a
trial of 200, from handing them to Tune to having them all, the actors' start included. Whether the
number of trials matters shows in the first and the last tenth of them, and in the driver's memory.
Tracking is not part of this (epoch.py and server.py measure it). Last, what a slice of training
costs the driver: trials of hundreds of epochs of milliseconds that report every one of them.

    python benchmarks/noop_trials.py [--trials 200] [--rounds 3] [--json FILE]
    python benchmarks/noop_trials.py --trials 10000 --rounds 1
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from common import Report, begin, prepare, quickstart_trial

from equigrid.config.experiment import find, load_experiment
from equigrid.config.schema import ResourcesSpec
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import SLICE_SECONDS, Slice
from equigrid.orchestration.in_process import InProcess
from equigrid.orchestration.worker import Worker
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial, data_key


class WorkerActor:
    """A worker behind a plain Ray actor."""

    def __init__(self, root: Path, prepared: Mapping[str, PreparedData]) -> None:
        self.worker = Worker(root, prepared, 0)

    def run(self, trial: dict[str, Any]) -> str:
        self.worker.assign(Trial.from_dict(trial))
        return self.worker.advance(SLICE_SECONDS).state


class IdleActor:
    def run(self, trial: dict[str, Any]) -> str:
        return "finished"


class Stopwatch:
    """Seconds until the first and the last of a number of trials is back."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.times: list[float] = []

    def rate(self, begin: float, end: float) -> float:
        """Trials a second, between two shares of all of them."""
        times = sorted(self.times)
        first, last = int(begin * len(times)), int(end * len(times)) - 1
        return (last - first) / (times[last] - times[first])

    def back(self, state: str) -> None:
        if state != "finished":
            raise RuntimeError(f"a trial ended as {state}")
        self.times.append(time.perf_counter() - self._begun)


def dispatched(dispatcher: Any, trials: Sequence[Trial], prepared: Any) -> Stopwatch:
    watch = Stopwatch()

    def report(trial: Trial, piece: Slice) -> None:
        watch.back(piece.state)

    dispatcher.run(trials, prepared, report)
    return watch


def pooled(make: Callable[[], Any], trials: Sequence[Trial]) -> Stopwatch:
    import ray
    from ray.util import ActorPool

    watch = Stopwatch()
    actors = [make() for _ in range(os.cpu_count() or 1)]
    pool = ActorPool(actors)
    for state in pool.map_unordered(lambda a, t: a.run.remote(t), [t.to_dict() for t in trials]):
        watch.back(state)
    for actor in actors:
        ray.kill(actor)
    return watch


def resident() -> float:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def slices(report: Report, folder: Path, epochs: int = 300) -> None:
    """Processor time of the driver for a result; the first slices include the actors' start."""
    from equigrid.orchestration.ray_tune import RayTune

    content = yaml.safe_load(find("quickstart").read_text())
    content["datasets"]["C4"] |= {"digits": 2, "per_label": {"train": 8, "val": 4, "test": 4}}
    content["training"] |= {"epochs": epochs, "patience": epochs, "batch_size": 32}
    (folder / "slices.yaml").write_text(yaml.safe_dump(content))
    experiment = load_experiment(str(folder / "slices.yaml"))
    workspace, recipe = Workspace(folder), experiment.datasets["C4"].recipe(RawStore())
    prepared = {data_key(recipe): prepare(workspace, recipe)}
    point = {"lr": 1e-3, "lambda": 1.0}
    trials = [experiment.trial("Ours", "C4", point, seed, "grid", recipe) for seed in range(8)]
    count = 0

    def told(trial: Trial, piece: Slice) -> None:
        nonlocal count
        count += 1

    tuned = RayTune(workspace, 0, ResourcesSpec(cpu=1), folder, slice_seconds=0.0)
    begun = time.process_time()
    tuned.run(trials, prepared, told)
    spent = time.process_time() - begun
    tuned.close()
    report.show("Ray Tune: a slice, CPU time of the driver", 1000 * spent / count, "ms", count)


def main() -> None:
    report, options = begin(__doc__, trials=200, rounds=3)
    count, n = options.trials, options.rounds
    trained = quickstart_trial({"lr": 1e-3, "lambda": 1.0})
    majority = replace(
        trained, row="Chance", model={"name": "majority"}, objective={"name": "none"},
        hyperparameters={}, training={},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        prepared = {data_key(majority.data): prepare(workspace, majority.data)}
        begun = time.perf_counter()
        from equigrid.orchestration.ray_tune import RayTune

        tuned = RayTune(workspace, 0, ResourcesSpec(cpu=1), Path(folder))
        report.show("start-up: import Ray, ray.init", time.perf_counter() - begun, "s", 1)
        import ray

        worker_actor = ray.remote(num_cpus=1)(WorkerActor)
        idle_actor = ray.remote(num_cpus=1)(IdleActor)
        ways: dict[str, Callable[[Sequence[Trial]], Stopwatch]] = {
            "in this process, no Ray": lambda trials: dispatched(
                InProcess(workspace, 0), trials, prepared
            ),
            "plain ActorPool, idle actors": lambda trials: pooled(idle_actor.remote, trials),
            "plain ActorPool, our worker": lambda trials: pooled(
                lambda: worker_actor.remote(workspace.root, prepared), trials
            ),
            "Ray Tune, our worker": lambda trials: dispatched(tuned, trials, prepared),
        }
        watches: dict[str, list[Stopwatch]] = {name: [] for name in ways}
        memory = dict.fromkeys(ways, 0.0)
        seed = 0
        for _ in range(n):
            for name, run in ways.items():
                trials = [replace(majority, seed=seed + k) for k in range(count)]
                seed += count
                before = resident()
                watches[name].append(run(trials))
                memory[name] = max(memory[name], resident() - before)
        tuned.close()
    for name, rounds in watches.items():
        first = median(min(w.times) for w in rounds)
        marginal = median((max(w.times) - min(w.times)) / (count - 1) for w in rounds)
        everything = median(max(w.times) for w in rounds) / count
        goal = 0.05 if name.startswith("Ray Tune") else None
        report.show(f"{name}: until the first trial is back", first, "s", n)
        report.show(f"{name}: each further trial", 1000 * marginal, "ms", n)
        report.show(f"{name}: a trial of {count}, all in", everything, "s", n, goal)
        for share, since, until in (("first", 0, 0.1), ("last", 0.9, 1)):
            rate = median(w.rate(since, until) for w in rounds)
            report.show(f"{name}: rate over the {share} tenth", rate, "trials/s", n)
        report.show(f"{name}: the driver's memory grew by", memory[name] / 1e6, "MB", n)
    with tempfile.TemporaryDirectory() as folder:
        slices(report, Path(folder))
    report.close()


if __name__ == "__main__":
    main()
