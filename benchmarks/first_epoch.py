"""How long somebody waits who runs equigrid for the first time, until a training has done an epoch.

`equigrid run quickstart` in a new workspace: the table of trials, MLflow's tables, digits, caches,
Ray, its first actors, and the first line of a trial's journal; then the run is stopped. The floor
beside it, in turns: Ray alone, started as a run starts it, until as many actors as there are cores
have imported torch.

    python benchmarks/first_epoch.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from common import begin

ROOT = Path(__file__).parents[1]
RAY_ALONE = """
import os
from pathlib import Path
from equigrid.orchestration.ray_start import start_ray
import ray

start_ray()

class Actor:
    def torch(self):
        import torch
        return torch.__version__

kind = ray.remote(num_cpus=1)(Actor)
actors = [kind.remote() for _ in range(os.cpu_count())]
print(ray.get([actor.torch.remote() for actor in actors]), flush=True)
"""


def first_epoch() -> float:
    """Seconds until a journal of the quickstart has a line."""
    with tempfile.TemporaryDirectory(prefix="equigrid-", ignore_cleanup_errors=True) as folder:
        workspace = Path(folder) / "workspace"
        command = "from equigrid.cli import main; main()"
        begun = time.perf_counter()
        run = subprocess.Popen(
            [sys.executable, "-c", command, "run", "quickstart", "--workspace", str(workspace)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
        )  # fmt: skip
        try:
            while not any(it.stat().st_size for it in workspace.glob("running/**/*journal*")):
                if run.poll() is not None:
                    raise SystemExit(f"the run ended ({run.returncode}) before its first epoch")
                time.sleep(0.02)
            return time.perf_counter() - begun
        finally:
            run.send_signal(signal.SIGTERM)
            run.wait(120)


def ray_alone() -> float:
    """Seconds until every actor has answered; Ray's end is not part of it."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", RAY_ALONE], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        answer = running.stdout.readline()
        seconds = time.perf_counter() - begun
    if not answer:
        raise SystemExit("Ray alone ended without an answer")
    return seconds


def main() -> None:
    report, options = begin(__doc__, rounds=5)
    for name in ("OMP_NUM_THREADS", "RAY_worker_niceness"):
        del os.environ[name]  # as a user's shell has it
    waits = [(first_epoch(), ray_alone()) for _ in range(options.rounds)]
    ours, floor = zip(*waits, strict=True)
    for what, seconds in (("until the first epoch is done", ours), ("Ray alone", floor)):
        report.show(what, median(seconds), "s", options.rounds)
        report.show(f"{what}, fastest", min(seconds), "s", options.rounds)
        report.show(f"{what}, slowest", max(seconds), "s", options.rounds)
    report.close()


if __name__ == "__main__":
    main()
