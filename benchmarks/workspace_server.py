"""One workspace server for many workers on many nodes: checkpoints of real sizes, no trainings.

A Ray cluster of `--nodes` nodes is started on this machine, each with an object store of its own,
and one process on each that is a share of `--workers` workers, in threads (fewer where this machine
could not hold all their checkpoints at once). They are the workers of nodes that do not see the
workspace; only their training is replaced: it sleeps, and its checkpoint is as large as that of a
published network (16 bytes a parameter). For each size they

- carry one checkpoint after the other, without a pause: the most that one server takes, beside
  the floor, a bare loop that writes the same bytes;
- carry at the pace of `equigrid run`, every 30 s; how long a worker waits for the server;
- carry every 3 s, as ten times as many workers would: where that is more than the server can do, a
  worker carries less often, and waits for a tenth of its time at most.

    python benchmarks/workspace_server.py [--workers 64] [--nodes 8] [--seconds 20] [--json FILE]
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from common import Report, begin, quickstart_trial

import equigrid.orchestration.remote_worker as carrying
from equigrid.files import write_atomically
from equigrid.orchestration.dispatch import Slice
from equigrid.orchestration.remote_worker import (
    CARRY_SECONDS,
    CARRY_SHARE,
    RemoteWorker,
    WorkspaceServer,
)
from equigrid.orchestration.worker import Worker
from equigrid.trial import Trial

#: Parameters of published networks: a checkpoint has 16 bytes for each.
PARAMETERS = {"table 4, CNN": 33_742, "table 5, CNN": 141_998, "table 6, MLP": 8_324_992}
#: Bytes of all checkpoints at once; on the way each is in memory twice.
AT_ONCE = 2.5e9


class Pretended(Worker):
    """Trains nothing: a checkpoint of a given size, written once, then slices that only pass."""

    size = 0

    def advance(self, seconds: float) -> Slice:
        assert self._trial is not None
        files = self.workspace.trial_files(self._trial)
        if not files.checkpoint.exists():
            write_atomically(files.checkpoint, os.urandom(self.size), durable=False)
        time.sleep(seconds)
        return Slice("training")


class PretendedDistant(RemoteWorker, Pretended):
    """A server's worker whose training is pretended."""

    #: Seconds of each carrying.
    waited: list[float]

    def _carry(self, *arguments: Any) -> None:
        begun = time.perf_counter()
        super()._carry(*arguments)
        self.waited.append(time.perf_counter() - begun)


class Node:
    """Some workers of one node, in threads of one process."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def train(self, trials: Sequence[Trial], size: int, seconds: float, every: float) -> Any:
        """Seconds of every carrying; every: seconds between two of one worker."""
        carrying.CARRY_SECONDS = every
        carrying.CARRY_SHARE = CARRY_SHARE if every else float("inf")
        ready = threading.Barrier(len(trials))

        def one(number: int) -> list[float]:
            worker = PretendedDistant(self.server, {}, 0, "cpu")
            worker.size, worker.waited = size, []
            worker.assign(trials[number])
            ready.wait()
            # Not all at the same moment: a trial begins when a slot is free.
            time.sleep(every * number / len(trials))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                worker.advance(1.0 if every else 0.0)
            return worker.waited

        with ThreadPoolExecutor(len(trials)) as pool:
            return [it for waited in pool.map(one, range(len(trials))) for it in waited]


class Watched(WorkspaceServer):
    """A server that says what it takes."""

    def taken(self) -> tuple[float, float]:
        """Bytes of this process's own memory, what it shares left out; its processor time."""
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return 1024.0 * int(line.split()[1]), time.process_time()
        raise RuntimeError("this kernel does not tell RssAnon")


def bare(folder: Path, size: int, seconds: float) -> float:
    """Bytes a second of one loop that writes a file in another's place, as the server does."""
    content, count, begun = os.urandom(size), 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        write_atomically(folder / "bare" / str(count % 16), content, durable=False)
        count += 1
    return count * size / (time.monotonic() - begun)


def measure(report: Report, ray: Any, folder: Path, name: str, workers: int, seconds: int) -> None:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    size = 16 * PARAMETERS[name]
    workers = min(workers, int(AT_ONCE / size))
    one = quickstart_trial({"lr": 1e-3, "lambda": 1.0})
    trials = [replace(one, seed=seed) for seed in range(workers)]
    here = ray.get_runtime_context().get_node_id()
    elsewhere = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]
    settings = {"num_cpus": 0, "scheduling_strategy": On(here, soft=False), "max_concurrency": 1}
    server = ray.remote(Watched).options(**settings).remote(folder, {})
    node = ray.remote(Node)
    nodes = [
        node.options(num_cpus=1, scheduling_strategy=On(it, soft=False)).remote(server)
        for it in elsewhere[:workers]
    ]
    shares = [trials[k :: len(nodes)] for k in range(len(nodes))]
    what = f"{name}, {size / 1e6:.1f} MB, {workers} workers"
    report.show(f"{what}: a bare loop", bare(folder, size, 5.0) / 1e6, "MB/s", 1)
    for how, every, lasting in (
        ("without a pause", 0.0, float(seconds)),
        (f"every {CARRY_SECONDS:.0f} s", CARRY_SECONDS, 2 * CARRY_SECONDS),
        (f"every {CARRY_SECONDS / 10:.0f} s", CARRY_SECONDS / 10, 2 * CARRY_SECONDS),
    ):
        _, before = ray.get(server.taken.remote())
        begun = time.monotonic()
        calls = [
            it.train.remote(share, size, lasting, every)
            for it, share in zip(nodes, shares, strict=True)
        ]
        waited = [it for told in ray.get(calls) for it in told]
        took, n = time.monotonic() - begun, len(waited)
        memory, after = ray.get(server.taken.remote())
        report.show(f"{what}, {how}: carried", n * size / 1e6 / took, "MB/s", n)
        report.show(f"{what}, {how}: a worker waits, median", median(waited), "s", n)
        report.show(f"{what}, {how}: a worker waits, longest", max(waited), "s", n)
        report.show(f"{what}, {how}: of its time", 100 * sum(waited) / workers / took, "%", n)
        report.show(f"{what}, {how}: CPU time of one", 1000 * (after - before) / n, "ms", n)
        report.show(f"{what}, {how}: the server's own memory", memory / 1e6, "MB", 1)
    for actor in (server, *nodes):
        ray.kill(actor)
    for child in folder.iterdir():
        shutil.rmtree(child)


def main() -> None:
    report, options = begin(__doc__, workers=64, nodes=8, seconds=20)
    import ray
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="equigrid-"))
    store = 10**9
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "object_store_memory": store})
    try:
        for _ in range(options.nodes):
            cluster.add_node(num_cpus=1, object_store_memory=store)
        code = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
        environment = {"env_vars": {"PYTHONPATH": code}}
        ray.init(cluster.address, log_to_driver=False, runtime_env=environment)
        for name in PARAMETERS:
            measure(report, ray, folder, name, options.workers, options.seconds)
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
