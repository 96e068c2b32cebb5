"""A grid through Ray Tune, checkpoints and MLflow against the bare training loops.

Floor: the same trainings in one plain process a CPU core, one thread each, that take the next
trial off a shared counter: no Ray, no MLflow, no checkpoint, no journal, no record.

Both sides take turns (each round has its own seed, so nothing is found finished) and are measured
by the same clock, the slot time: from the end of a slot's first training to the end of its last,
summed over the slots. That leaves out the fixed start-up, which is shown beside: importing,
ray.init, the first actors, and what torch imports for its first step. Goal: at most 5 % over the
floor.

Other work on the machine hits the two sides of a round unequally, so the two parts of the
difference are also measured within a round: the time of our slots that is not spent in epochs
(between trials, checkpoints, results on their way through Tune), and the CPU seconds of the driver
and Ray's own processes (Tune's loop, the MLflow writer), which on full cores are taken from
training.

The trials are the quickstart's: `Ours` on double digits under C4xC4 (small_cnn), over lr and λ.

    python benchmarks/orchestration.py [--trials 8] [--epochs 6] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from common import begin, open_dataset, prepare, quickstart

from equigrid.config.schema import ResourcesSpec
from equigrid.datasets.store import PreparedData
from equigrid.orchestration.dispatch import Slice
from equigrid.planning.workspace import Workspace
from equigrid.record import TrialFiles
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer
from equigrid.training.run import TrialRun
from equigrid.trial import Trial, data_key

SLOTS = os.cpu_count() or 1


@dataclass(frozen=True)
class Training:
    """Unix times of its begin and end; seconds: wall seconds in each epoch."""

    start: float
    end: float
    seconds: float


@dataclass(frozen=True)
class Round:
    """begun: when it was started (Unix time). cpu: seconds, of the floor's trainings, or of our
    driver and Ray's own processes from the first result on.
    """

    begun: float
    trainings: Sequence[Training]
    cpu: float

    @cached_property
    def slots(self) -> list[list[Training]]:
        """The trainings of each slot: one goes on where another has just ended."""
        slots: list[list[Training]] = []
        for training in sorted(self.trainings, key=lambda each: each.start):
            free = [slot for slot in slots if slot[-1].end <= training.start]
            if free:
                max(free, key=lambda slot: slot[-1].end).append(training)
            else:
                slots.append([training])
        return slots

    @property
    def startup(self) -> float:
        """Until the last slot trains."""
        return max(slot[0].start for slot in self.slots) - self.begun

    @property
    def per_trial(self) -> float:
        """Slot-seconds of a trial, the pause before it included; a slot's first one left out."""
        spans = [slot[-1].end - slot[0].end for slot in self.slots]
        return sum(spans) / (len(self.trainings) - len(self.slots))

    @property
    def outside_epochs(self) -> float:
        """Its share that is not spent in epochs, in percent of the time in epochs."""
        seconds = [training.seconds for slot in self.slots for training in slot[1:]]
        return 100 * (self.per_trial / (sum(seconds) / len(seconds)) - 1)


def grid(count: int, epochs: int, seed: int) -> list[Trial]:
    """Trials that run all their epochs."""
    experiment, recipe = quickstart()
    points = [{"lr": 1e-3, "lambda": 0.1 * (1 + n)} for n in range(count)]
    trials = [experiment.trial("Ours", "C4", p, seed, "grid", recipe).to_dict() for p in points]
    longer = {"epochs": epochs, "patience": epochs}
    return [Trial(**{**t, "training": {**t["training"], **longer}}) for t in trials]


class BareRun(TrialRun):
    """The loop alone: writes nothing."""

    def _resume(self) -> None:
        pass

    def _save(self) -> None:
        pass


def bare_process(root: Path, trials: Sequence[Trial], counter: Any, done: Any) -> None:
    """Train what the counter gives until there is nothing left."""
    dataset = open_dataset(Workspace(root), trials[0].data)
    while True:
        with counter.get_lock():
            mine = counter.value
            counter.value += 1
        if mine >= len(trials):
            return
        cpu = time.process_time()
        run = BareRun(trials[mine], dataset, "", TrialFiles.below(root / "nothing"), "cpu")
        while not run.done:
            run.run_epoch()
        training = Training(run.started, time.time(), sum(run.epoch_seconds))
        done.put((training, time.process_time() - cpu))


def bare(root: Path, trials: Sequence[Trial]) -> Round:
    context = multiprocessing.get_context("spawn")
    counter, done = context.Value("i", 0), context.Queue()
    begun = time.time()
    arguments = (root, trials, counter, done)
    processes = [context.Process(target=bare_process, args=arguments) for _ in range(SLOTS)]
    for process in processes:
        process.start()
    found = [done.get() for _ in trials]
    for process in processes:
        process.join()
    trainings, cpu = zip(*found, strict=True)
    return Round(begun, trainings, sum(cpu))


def overhead_cpu() -> float:
    """CPU seconds so far of this process and of Ray's processes below it that are no workers."""
    ticks, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        pid = int(folder.name)
        parents[pid] = int(fields[1])
        # Without a title: a worker that has ended and is not buried yet.
        is_worker = not title or title.startswith(b"ray::")
        ticks[pid] = 0 if is_worker else int(fields[11]) + int(fields[12])
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(ticks[pid] for pid in below) / os.sysconf("SC_CLK_TCK")


def tuned(
    dispatcher: Any,
    workspace: Workspace,
    trials: Sequence[Trial],
    prepared: Mapping[str, PreparedData],
    writer: Writer,
) -> Round:
    """As the grid stage does it: every record goes to the writer as it comes."""

    cpu: list[float] = []

    def report(trial: Trial, piece: Slice) -> None:
        if not cpu:
            cpu.append(overhead_cpu())  # the start-up is over
        if piece.state == "failed":
            raise RuntimeError(f"{trial.describe()}: {piece.reason}")
        if piece.state == "finished":
            record = workspace.record(trial.key)
            assert record is not None
            writer.record(trial, record)

    begun = time.time()
    dispatcher.run(trials, prepared, report)
    writer.close()
    cpu.append(overhead_cpu())
    trainings = []
    for trial in trials:
        record = workspace.record(trial.key)
        assert record is not None
        end = workspace.record_file(trial.key).stat().st_mtime
        trainings.append(Training(record.started, end, sum(record.epoch_seconds)))
    return Round(begun, trainings, cpu[1] - cpu[0])


def main() -> None:
    report, options = begin(__doc__, trials=8, epochs=6, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        _, recipe = quickstart()
        prepared = {data_key(recipe): prepare(workspace, recipe)}

        begun = time.perf_counter()
        from equigrid.tracking.session import Session

        store = Store(workspace.tracking_uri, workspace.artifact_folder, "benchmark")
        Session(store)
        report.show("start-up: import MLflow, make its store", time.perf_counter() - begun, "s", 1)
        begun = time.perf_counter()
        from equigrid.orchestration.ray_tune import RayTune

        report.show("start-up: import Ray", time.perf_counter() - begun, "s", 1)
        begun = time.perf_counter()
        dispatcher = RayTune(workspace, 0, ResourcesSpec(cpu=1), Path(folder))
        report.show("start-up: ray.init", time.perf_counter() - begun, "s", 1)

        floor, ours = [], []
        try:
            for seed in range(options.rounds):
                trials = grid(options.trials, options.epochs, seed)
                floor.append(bare(workspace.root, trials))
                ours.append(tuned(dispatcher, workspace, trials, prepared, Writer(store)))
        finally:
            dispatcher.close()

    n = options.rounds
    pairs = list(zip(ours, floor, strict=True))
    report.show("start-up: until every actor trains", median(r.startup for r in ours), "s", n)
    seconds = median(r.startup for r in floor)
    report.show("start-up: until every bare process trains", seconds, "s", n)
    seconds = median(r.cpu for r in floor) / options.trials
    report.show("a trial of the bare loops, CPU time", seconds, "s", n)
    for name, side in (("a trial of the bare loops", floor), ("a trial of ours", ours)):
        report.show(f"{name}, slot time ({SLOTS} slots)", median(r.per_trial for r in side), "s", n)
        report.show(f"{name}, outside epochs", median(r.outside_epochs for r in side), "%", n)
    ratio = median(a.cpu / b.cpu for a, b in pairs)
    report.show("CPU time of driver and Ray, of the bare loops'", 100 * ratio, "%", n)
    ratio = median(a.per_trial / b.per_trial for a, b in pairs)
    report.show("ours over the bare loops, slot time", 100 * (ratio - 1), "%", n, goal=5.0)
    report.close()


if __name__ == "__main__":
    main()
