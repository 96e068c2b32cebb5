"""What the benchmarks share: options, the machine they ran on, and figures side by side."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

# Read by the numerical libraries when they are imported: one thread, as in a worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray runs its workers at niceness 15; the floors run at 0, and so do Ray's workers here.
os.environ.setdefault("RAY_worker_niceness", "0")

import numpy as np
import torch

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.ddmnist.builder import DDMNIST, DDMNISTParameters
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import builder_of, group_named
from equigrid.datasets.resident import Dataset
from equigrid.datasets.store import Arrays, PreparedData, read_arrays
from equigrid.planning.workspace import Workspace
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.training.environment import environment
from equigrid.trial import Trial

torch.set_num_threads(1)


@dataclass(frozen=True)
class Seconds:
    """Of one call. cpu: of this process alone, so nearly free of what else the machine does."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Figure:
    """goal: what the value should not exceed, None where it is only shown."""

    what: str
    value: float
    unit: str
    n: int
    goal: float | None = None


@dataclass
class Report:
    """Prints figures as they come; writes them as JSON where asked to."""

    name: str
    file: Path | None
    machine: dict[str, str]
    figures: list[Figure] = field(default_factory=list)

    def show(self, what: str, value: float, unit: str, n: int, goal: float | None = None) -> None:
        self.figures.append(Figure(what, value, unit, n, goal))
        verdict = "" if goal is None else f"  goal {goal:g}: {'met' if value <= goal else 'MISSED'}"
        print(f"{what:<64} {value:>10.4g} {unit:<10} n={n}{verdict}", flush=True)

    def close(self) -> None:
        load = os.getloadavg()[1]
        print(f"load average over 5 minutes: {load:.1f} on {os.cpu_count()} cores")
        if self.file is not None:
            content = {
                "benchmark": self.name,
                "machine": self.machine,
                "load_average": load,
                "figures": [asdict(figure) for figure in self.figures],
            }
            self.file.write_text(json.dumps(content, indent=1) + "\n")


def begin(description: str | None, **numbers: int) -> tuple[Report, argparse.Namespace]:
    """Parse `--json` and one whole-number option for each default; print what this runs on."""
    words = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=words)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    return Report(Path(sys.argv[0]).stem, options.json, machine()), options


def machine() -> dict[str, str]:
    """What this runs on; printed too."""
    found = {key: value for key, value in environment("cpu").items() if key != "host"}
    print(f"{Path(sys.argv[0]).stem}: " + ", ".join(f"{k} {value}" for k, value in found.items()))
    return found


def timed(function: Callable[[], object]) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def side_by_side(n: int, **functions: Callable[[], object]) -> dict[str, list[Seconds]]:
    """Time every function once, then again, n times: all see the same state of the machine.

    A first round, not counted, warms caches and allocators.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[Seconds]] = {name: [] for name in functions}
    for _ in range(n):
        for name, function in functions.items():
            seconds[name].append(timed(function))
    return seconds


def wall(seconds: list[Seconds]) -> float:
    return median(each.wall for each in seconds)


def overhead(ours: list[Seconds], floor: list[Seconds], clock: str = "wall") -> float:
    """Percent over the floor: the median of the rounds' own ratios."""
    ratios = [getattr(a, clock) / getattr(b, clock) for a, b in zip(ours, floor, strict=True)]
    return 100 * (median(ratios) - 1)


def quiet(done: int, total: int) -> None:
    """Progress that nobody watches."""


def quickstart() -> tuple[Experiment, dict[str, Any]]:
    """The packaged quickstart and the recipe of its C4 dataset: real digits, no download."""
    experiment = load_experiment("quickstart")
    return experiment, experiment.datasets["C4"].recipe(RawStore())


def quickstart_trial(point: Mapping[str, float], seed: int = 0) -> Trial:
    experiment, recipe = quickstart()
    return experiment.trial("Ours", "C4", point, seed, "grid", recipe)


def prepare(workspace: Workspace, recipe: Mapping[str, Any]) -> PreparedData:
    """Stages 1 and 2 of one dataset."""
    base = data_build(workspace, recipe, RawStore(), quiet)
    return augment_cache(workspace, recipe, base, quiet)


def open_dataset(workspace: Workspace, recipe: Mapping[str, Any]) -> Dataset:
    """The prepared dataset on the CPU, as a worker opens it."""
    base, _ = read_arrays(workspace.data_file(recipe))
    cache, _ = read_arrays(workspace.cache_file(recipe))
    return builder_of(recipe).resident({**base, **cache}, "cpu")


def synthetic_double_digits(
    group: str, draws: int, train: int, held_out: int
) -> tuple[DDMNIST, Arrays]:
    """The builder of table 4's data and random arrays in place of MNIST's: nothing to download.

    train, held_out: pairs for each of the 100 labels. What is timed does not depend on pixels.
    """
    per_label = {"train": train, "val": held_out, "test": held_out}
    parameters = DDMNISTParameters.model_validate(
        {"per_label": per_label, "artefacts": {"draws": draws} if draws else None}
    )
    builder = DDMNIST(parameters, group_named(group))
    stream, side = np.random.default_rng(0), builder.source.side
    arrays: dict[str, Any] = {}
    for split, count in per_label.items():
        size = builder.labels * count
        arrays[f"{split}/digits"] = stream.integers(256, size=(size, 2, side, side), dtype=np.uint8)
        arrays[f"{split}/labels"] = np.repeat(np.arange(builder.labels), count)
    return builder, arrays
