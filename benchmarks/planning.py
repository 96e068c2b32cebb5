"""Planning 10 000 trials: without any record, and with a record of every one of them.

Then, with the records read: to plan again in the same process, and what `status` makes of a plan.
Floor: the work that cannot be left out, done by itself: hashing the configurations (the run keys),
and reading and parsing the records. Goal: a plan under 2 s. Every plan starts from objects made
anew, as in a new process; imports are not counted.

The search space has one row on two datasets with 50 learning rates and 100 λ; a record has as many
epochs as asked for.

    python benchmarks/planning.py [--rounds 3] [--epochs 20] [--json FILE]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import begin, side_by_side, timed, wall

from equigrid.commands.status import overview
from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.files import canonical_json, sha256
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import grid_trials
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.training.environment import environment

TRIALS = 10_000

SPACE = """
datasets:
  C4: {{builder: ddmnist, source: digits, group: C4xC4}}
  D1: {{builder: ddmnist, source: digits, group: D1xD1}}
columns:
  C4: {{dataset: C4, split: test_augmented, metric: accuracy}}
  D1: {{dataset: D1, split: test_augmented, metric: accuracy}}
rows:
  Ours:
    model: small_cnn
    objective: regular_representation
    grid: {{lr: {rates}, lambda: {strengths}}}
"""


def big_experiment(folder: Path) -> Experiment:
    rates = [round(1e-4 * (1 + n / 10), 6) for n in range(50)]
    strengths = [round(0.01 * (1 + n), 2) for n in range(100)]
    file = folder / "big.yaml"
    file.write_text(SPACE.format(rates=rates, strengths=strengths))
    return load_experiment(str(file))


def write_records(
    experiment: Experiment, recipes: Mapping[str, Any], workspace: Workspace, epochs: int
) -> None:
    names = ("loss", "accuracy", "equivariance_loss")
    row = {f"{split}_{name}": 1 / 3 for split in ("train", "val") for name in names}
    row["val_equivariance_error"] = 1 / 7
    workspace.record_file("").parent.mkdir(parents=True)
    for first, *others in grid_trials(experiment, recipes).values():
        record = Record(
            first, first.key, (row,) * epochs, 1, row, None, 10_000, "0" * 64, "0" * 64,
            environment("cpu"), 1.7e9, (1 / 3,) * epochs,
        )  # fmt: skip
        text = record.to_json()
        workspace.record_file(first.key).write_text(text)
        for trial in others:
            # To write a record takes 10 ms: exchange what differs.
            mine = text.replace(first.key, trial.key)
            for name, value in trial.hyperparameters.items():
                before = f'"{name}": {first.hyperparameters[name]!r}'
                mine = mine.replace(before, f'"{name}": {value!r}')
            workspace.record_file(trial.key).write_text(mine)


def main() -> None:
    report, options = begin(__doc__, rounds=3, epochs=20)
    n = options.rounds
    with tempfile.TemporaryDirectory() as folder:
        experiment = big_experiment(Path(folder))
        recipes = {name: each.recipe(RawStore()) for name, each in experiment.datasets.items()}
        workspace = Workspace(Path(folder) / "workspace")

        def plan(finished: int) -> None:
            found = Ledger(big_experiment(Path(folder)), Workspace(workspace.root)).known()
            missing = len(found.missing("grid"))
            if missing != TRIALS - finished:
                raise RuntimeError(f"{missing} of {TRIALS} trials missing")

        def hash_all() -> None:
            for trials in grid_trials(experiment, recipes).values():
                for trial in trials:
                    sha256(canonical_json(trial.configuration).encode())

        def read_all() -> None:
            for path in workspace.record_file("").parent.glob("*.json"):
                json.loads(path.read_text())

        seconds = side_by_side(n, plan=lambda: plan(0), hash=hash_all)
        report.show("floor: make and hash the trials", wall(seconds["hash"]), "s", n)
        report.show("plan without records", wall(seconds["plan"]), "s", n, goal=2.0)

        write_records(experiment, recipes, workspace, options.epochs)
        size = next(workspace.record_file("").parent.glob("*.json")).stat().st_size
        report.show("size of a record", size / 1000, "kB", 1)
        report.show("plan that meets all records first", timed(lambda: plan(TRIALS)).wall, "s", 1)
        seconds = side_by_side(n, plan=lambda: plan(TRIALS), read=read_all)
        report.show("floor: read and parse the records", wall(seconds["read"]), "s", n)
        report.show("plan with all records, again", wall(seconds["plan"]), "s", n, goal=2.0)

        ledger = Ledger(experiment, workspace)
        known = ledger.known()
        again = side_by_side(n, replan=ledger.plan, status=lambda: list(overview(known, workspace)))
        report.show("plan again in the same process", wall(again["replan"]), "s", n)
        report.show("status of a plan: its table and lines", wall(again["status"]), "s", n)
    report.close()


if __name__ == "__main__":
    main()
