"""Commands over thousands of tracked runs, warm and cold, beside MLflow's own search_runs.

A workspace with made-up records of three epochs, every one of them a run in SQLite, written by the
tracking code itself (that takes minutes; `--keep DIR` keeps the workspace, or uses the one that is
there). Then each command runs as a user runs it, in a process of its own: cold without any results
cache, warm with it. Goals: 2 s warm, 20 s cold.

    python benchmarks/tracked.py [--runs 5000] [--rounds 3] [--keep DIR] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median

import yaml
from common import Report, machine

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.planning.plan import grid_trials, make_plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, Result
from equigrid.tracking.writer import Writer
from equigrid.trial import Trial

GOAL_WARM, GOAL_COLD = 2.0, 20.0


def search_space(folder: Path, runs: int) -> Path:
    """A quickstart whose grid alone has about `runs` trials, half of them for each dataset."""
    content = yaml.safe_load(Path(__file__).parents[1].joinpath(
        "search_spaces", "quickstart.yaml").read_text())  # fmt: skip
    strengths = [0.01 * (n + 1) for n in range(50)]
    rates = [1e-4 * (n + 1) for n in range(max(1, runs // (2 * len(strengths)) - 1))]
    content["rows"]["Ours"]["grid"] = {"lr": rates, "lambda": strengths}
    content["rows"]["CNN (augmented)"]["grid"] = {"lr": [1e-4 * (n + 1) for n in range(40)]}
    path = folder / "thousands.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def made_up(trial: Trial) -> Record:
    """A record that nobody trained, with scores that differ from trial to trial."""
    level = int(trial.key[:6], 16) / 2**24
    history = tuple(
        {
            "train_loss": level / n, "train_accuracy": 1 - level / n, "val_loss": level / n,
            "val_accuracy": 1 - level / (2 * n), "val_equivariance_loss": level / (3 * n),
            "val_equivariance_error": level / (4 * n),
        }
        for n in range(1, 4)
    )  # fmt: skip
    trained = history if trial.training else ()
    return Record(
        trial=trial, key=trial.key, history=trained, best_epoch=len(trained),
        validation=trained[-1] if trained else {},
        test={split: {"accuracy": 1 - level / 5} for split in ("test", "test_augmented")}
        if trial.role == "final" else None,
        parameters=34329, data_sha256="d" * 64, weights_sha256="e" * 64,
        environment={"hardware": "made up", "git_commit": "made up", "torch": "made up"},
        started=1.7e9, epoch_seconds=(0.1,) * len(trained),
    )  # fmt: skip


def trials_of(experiment: Experiment) -> Iterator[Trial]:
    """The whole grid, then the finals that its made-up scores select."""
    recipes = {name: each.recipe(RawStore()) for name, each in experiment.datasets.items()}
    grid = grid_trials(experiment, recipes)
    results = {t.key: Result.of(made_up(t)) for trials in grid.values() for t in trials}
    plan = make_plan(experiment, recipes, results, {}, {})
    yield from plan.all_trials()


def fill(experiment: Experiment, workspace: Workspace) -> tuple[int, float]:
    """Records, and a tracked run for each; how many, and the seconds a run took."""
    count, begun = 0, time.perf_counter()
    with closing(Writer(workspace.store(experiment.full_name))) as writer:
        writer.patience = 3600.0
        for trial in trials_of(experiment):
            record = made_up(trial)
            record.save(workspace.record_file(trial.key))
            writer.record(trial, record)
            count += 1
    return count, (time.perf_counter() - begun) / count


def command(*arguments: object) -> float:
    """Seconds of one command; 0 and 3 are its good ends."""
    begun = time.perf_counter()
    line = [str(Path(sys.executable).with_name("equigrid")), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(line)}: {done.stderr}")
    return time.perf_counter() - begun


def search_runs(uri: str, name: str) -> float:
    """What MLflow takes to give the same runs as a list."""
    code = (
        "import mlflow, sys, time\nmlflow.set_tracking_uri(sys.argv[1])\nt = time.perf_counter()\n"
        "runs = mlflow.search_runs(experiment_names=[sys.argv[2]], output_format='list',"
        " max_results=50000)\nprint(time.perf_counter() - t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri, name], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure(report: Report, space: Path, workspace: Workspace, rounds: int) -> None:
    for name in ("status", "tables", "plan"):
        shutil.rmtree(workspace.root / "results", ignore_errors=True)
        arguments = (name, space, "--workspace", workspace.root)
        report.show(f"equigrid {name}, cold", command(*arguments), "s", 1, GOAL_COLD)
        warm = [command(*arguments) for _ in range(rounds)]
        report.show(f"equigrid {name}, warm", median(warm), "s", rounds, GOAL_WARM)
    uri, name = workspace.tracking_uri, space.stem
    seconds = [search_runs(uri, name) for _ in range(rounds)]
    report.show("mlflow.search_runs as a list, imports not counted", median(seconds), "s", rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    report = Report("tracked", options.json, machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        space, workspace = search_space(folder, options.runs), Workspace(folder / "workspace")
        filled = folder / "filled.json"
        if not filled.exists():
            count, seconds = fill(load_experiment(str(space)), workspace)
            filled.write_text(json.dumps([count, seconds]))
        count, seconds = json.loads(filled.read_text())
        report.show("tracked runs", count, "", 1)
        report.show("writing a run of three epochs to SQLite", 1000 * seconds, "ms", count)
        measure(report, space, workspace, options.rounds)
    report.close()


if __name__ == "__main__":
    main()
