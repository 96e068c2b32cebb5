"""Kill what a run consists of, at random times with training in flight, and compare the tables.

    python tests/faults/chaos.py --kills 20 --seed 1 [--space quickstart]

A kill is SIGKILL to the driver, to a worker in the midst of a trial, to the raylet or to the MLflow
server (which comes back after some seconds). What ended is started again by the same command until
it ends with a whole table. One line a kill, then a summary; exit code 1 where anything was lost,
doubled or different. Not collected by pytest: with the quickstart it takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import spaces
from driving import Driver, Drivers, in_flight, trained
from tracked_runs import finished_runs
from tracking_server import TrackingServer

from equigrid.config.experiment import load_experiment
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace

VICTIMS = ("driver", "worker", "raylet", "mlflow")
#: Seconds after which what is left of a killed driver is taken to stay, and a driver whose raylet
#: was killed to hang.
WORKERS, EVERYTHING, HANGS = 60.0, 120.0, 180.0
#: How often one workspace is started before it is given up.
STARTS = 60


def stage(space: str, workspace: Path) -> str:
    """Where a run is, by its records."""
    plan = Ledger(load_experiment(space), Workspace(workspace)).known()
    done = sum(plan.is_finished(trial) for trials in plan.grid.values() for trial in trials)
    if plan.missing("grid"):
        return f"grid, {done} finished"
    tested = sum(plan.is_finished(trial) for trials in plan.finals.values() for trial in trials)
    return f"final runs, {tested} finished"


def training(driver: Driver, workspace: Path, delay: float) -> bool:
    """Wait for `delay` seconds of training and for a trial in flight; False where it ended."""
    if not driver.until(lambda: in_flight(workspace), patience=600):
        return False
    due = time.monotonic() + delay
    return driver.until(lambda: time.monotonic() >= due and in_flight(workspace), patience=3600)


def wait_for_workers(driver: Driver) -> float:
    """Seconds until nothing of a killed driver trains any more."""
    begun = time.monotonic()
    while driver.workers() and time.monotonic() - begun < WORKERS:
        time.sleep(0.05)
    return time.monotonic() - begun


class Chaos:
    """Kills spread over as many fresh workspaces as it takes."""

    def __init__(self, space: str, folder: Path, kills: int, seed: int) -> None:
        self.space, self.folder, self.wanted = space, folder, kills
        self.random = random.Random(seed)
        self.name = load_experiment(space).full_name
        self.undisturbed = folder / "undisturbed"
        self.drivers = Drivers()
        self.kills: Counter[str] = Counter()
        self.lost = self.doubled = self.again = self.different = self.hanging = 0

    def start(self, workspace: Path, server: TrackingServer | None = None) -> Driver:
        environ = {"MLFLOW_TRACKING_URI": server.uri} if server else {}
        # A trial whose worker was killed too often is given up: by the next run no more.
        options = ["--retry-failed"] if (workspace / "quarantine").exists() else []
        return self.drivers.start(self.space, self.folder, workspace, *options, environ=environ)

    def go(self) -> bool:
        seconds, number = self.run_undisturbed(), 0
        while self.kills.total() < self.wanted:
            number += 1
            workspace = self.folder / f"killed{number}"
            with TrackingServer(self.folder / f"mlflow{number}") as server:
                self.one_workspace(workspace, server, seconds)
        orphans = self.drivers.orphans(EVERYTHING)
        of = ", ".join(f"{name} {self.kills[name]}" for name in VICTIMS)
        print(
            f"kills survived {self.kills.total()} ({of}), runs lost {self.lost}, "
            f"doubled {self.doubled} (tables that differ {self.different}, "
            f"trained again {self.again}, hanging {self.hanging}, orphans {len(orphans)}, "
            f"workspaces {number})"
        )
        for orphan in orphans:
            print(f"  orphan: {orphan[:200]}")
        wrong = self.lost, self.doubled, self.different, self.again, self.hanging, len(orphans)
        return not any(wrong)

    def run_undisturbed(self) -> float:
        """How long trainings are in flight when nothing happens."""
        begun = time.monotonic()
        driver = self.start(self.undisturbed)
        driver.until(lambda: in_flight(self.undisturbed))
        training = time.monotonic()
        driver.finish()
        end = time.monotonic()
        print(f"undisturbed: {end - begun:.0f} s, training {end - training:.0f} s", flush=True)
        return end - training

    def one_workspace(self, workspace: Path, server: TrackingServer, seconds: float) -> None:
        """Kill until the kills are used up or a run ends by itself; then look at the outcome."""
        recorded: dict[str, object] = {}
        driver = self.start(workspace, server)
        for _ in range(STARTS):
            while self.kills.total() < self.wanted and driver.is_running:
                # About as many kills as wanted fit into one run: a killed one goes on where it was.
                delay = self.random.uniform(0, 2 * seconds / self.wanted)
                if not training(driver, workspace, delay):
                    break
                self.strike(driver, workspace, server, delay)
                self.check_again(workspace, recorded)
                recorded = dict(trained(workspace))
            # Killed, at its end, or left alone from here on.
            if driver.process.wait(timeout=4 * spaces.PATIENCE) == 0:
                break
            if driver.process.returncode > 0:
                last = driver.output.read_text().strip().splitlines()[-1:]
                print(f"  exit code {driver.process.returncode}: {''.join(last)[:160]}", flush=True)
            driver = self.start(workspace, server)
        server.wait()
        # Once more: what MLflow missed while it was down is sent.
        self.start(workspace, server).finish()
        self.check_again(workspace, recorded)
        self.compare(workspace, server)

    def strike(self, driver: Driver, workspace: Path, server: TrackingServer, delay: float) -> None:
        """One kill; a server that is down already cannot be killed, something else is."""
        running = VICTIMS if server.answers else VICTIMS[:-1]
        victim, held = self.random.choice(running), in_flight(workspace)
        told = f"{delay:.2f} s into training, {len(held)} in flight, {stage(self.space, workspace)}"
        if victim == "mlflow":
            server.kill()
            down = self.random.uniform(2, 15)
            server.start_after(down)
            told += f"; down for {down:.0f} s"
        elif victim == "worker":
            # Looked up again: telling where we are took a moment.
            pids = [pid for pid in in_flight(workspace).values() if pid in driver.processes()]
            if not pids:
                return
            os.kill(self.random.choice(pids), signal.SIGKILL)
        elif victim == "raylet":
            raylets = [pid for pid, it in driver.processes().items() if "/raylet/raylet" in it]
            if not raylets or not in_flight(workspace):
                return
            os.kill(raylets[0], signal.SIGKILL)
            ended = driver.ends(HANGS)
            self.hanging += not ended
            if not ended:
                driver.kill()
            told += f"; driver ended by itself: {ended}"
        else:
            driver.kill()
        if not driver.is_running:
            told += f"; workers gone after {wait_for_workers(driver):.1f} s"
        self.kills[victim] += 1
        print(f"kill {self.kills.total()}, {victim}: {told}", flush=True)

    def check_again(self, workspace: Path, recorded: dict[str, object]) -> None:
        """What had a record before must have the same training in its record now."""
        now = trained(workspace)
        self.again += sum(now.get(key) != training for key, training in recorded.items())

    def compare(self, workspace: Path, server: TrackingServer) -> None:
        wanted = finished_runs(self.undisturbed, self.name)
        found: Counter[tuple[str, ...]] = Counter(finished_runs(workspace, self.name, server.uri))
        lost = [identity for identity in wanted if not found[identity]]
        doubled = [identity for identity, count in found.items() if count > 1]
        self.lost += len(lost)
        self.doubled += len(doubled)
        tables = [spaces.tables(it, self.name) for it in (workspace, self.undisturbed)]
        if tables[0] != tables[1]:
            self.different += 1
            differing = [name for name in tables[1] if tables[0].get(name) != tables[1][name]]
            print(f"  {workspace.name}: differs in {', '.join(differing)}", flush=True)
        for what, those in (("lost", lost), ("doubled", doubled)):
            if those:
                print(f"  {workspace.name}: {what}: {those}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--space", default="quickstart", help="a search space's name or path")
    arguments = parser.parse_args()
    path = Path(arguments.space)
    space = str(path.resolve()) if path.is_file() else arguments.space
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(space, Path(folder), arguments.kills, arguments.seed)
        with chaos.drivers:
            return 0 if chaos.go() else 1


if __name__ == "__main__":
    sys.exit(main())
