"""Kill the driver of a run at random times with training in flight, and compare the tables.

    python tests/faults/chaos.py --kills 10 --seed 1 [--space quickstart]

One line a kill, then a summary; exit code 1 where anything was lost, doubled or different. Not
collected by pytest: with the quickstart it takes a quarter of an hour. Runs on this machine only.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import spaces
from driving import Driver, Drivers, finished_runs, in_flight, trained

from pipeline.config import load_experiment
from pipeline.orchestration.workspace import Workspace
from stages.known import known_plan

#: Seconds after which what is left of a killed driver is taken to stay.
WORKERS, EVERYTHING = 60.0, 120.0


def stage(space: str, workspace: Path) -> str:
    """Where a run is, by its records."""
    plan = known_plan(load_experiment(space), Workspace(workspace))
    done = sum(plan.is_finished(trial) for trials in plan.grid.values() for trial in trials)
    if plan.missing("grid"):
        return f"grid, {done} finished"
    tested = sum(plan.is_finished(trial) for trials in plan.finals.values() for trial in trials)
    return f"final runs, {tested} finished"


def kill_sometime(driver: Driver, workspace: Path, delay: float) -> bool:
    """Kill the driver `delay` seconds into training, when something is in flight; did it hit?"""
    if not driver.until(lambda: in_flight(workspace), patience=600):
        return False
    due = time.monotonic() + delay
    if not driver.until(lambda: time.monotonic() >= due and in_flight(workspace), patience=3600):
        return False
    driver.kill()
    return True


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
        self.kills = self.lost = self.doubled = self.again = self.different = 0

    def start(self, workspace: Path) -> Driver:
        return self.drivers.start(self.space, self.folder, workspace)

    def go(self) -> bool:
        seconds, number = self.run_undisturbed(), 0
        while self.kills < self.wanted:
            number += 1
            self.one_workspace(self.folder / f"killed{number}", seconds)
        orphans = self.drivers.orphans(EVERYTHING)
        print(
            f"kills survived {self.kills}, runs lost {self.lost}, doubled {self.doubled} "
            f"(tables that differ {self.different}, trained again {self.again}, "
            f"orphans {len(orphans)}, workspaces {number})"
        )
        return not (self.lost or self.doubled or self.different or self.again or orphans)

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

    def one_workspace(self, workspace: Path, seconds: float) -> None:
        """Kill until the kills are used up or the run ends by itself; then look at the outcome."""
        recorded: dict[str, object] = {}
        while self.kills < self.wanted:
            # About as many kills as wanted fit into one run: a killed one goes on where it was.
            delay = self.random.uniform(0, 2 * seconds / self.wanted)
            driver = self.start(workspace)
            if not kill_sometime(driver, workspace, delay):
                break
            self.kills += 1
            held = len(in_flight(workspace))
            gone = wait_for_workers(driver)
            self.check_again(workspace, recorded)
            recorded = dict(trained(workspace))
            print(
                f"kill {self.kills}: {delay:.2f} s into training, {held} in flight, "
                f"{stage(self.space, workspace)}; workers gone after {gone:.1f} s",
                flush=True,
            )
        self.start(workspace).finish()
        self.check_again(workspace, recorded)
        self.compare(workspace)

    def check_again(self, workspace: Path, recorded: dict[str, object]) -> None:
        """What had a record before must have the same training in its record now."""
        now = trained(workspace)
        self.again += sum(now.get(key) != training for key, training in recorded.items())

    def compare(self, workspace: Path) -> None:
        wanted = finished_runs(self.undisturbed, self.name)
        found: Counter[tuple[str, ...]] = Counter(finished_runs(workspace, self.name))
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
    parser.add_argument("--kills", type=int, default=10)
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
