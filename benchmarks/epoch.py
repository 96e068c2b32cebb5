"""An epoch as a trial runs it against the bare loop, and what tracking adds to it.

Floor: a plain PyTorch loop on the same thread with the same model, optimiser, batches and loss,
and the same forward passes over the validation split; it keeps no scores, no best weights, no
checkpoint and no journal. Both sides take turns, epoch by epoch.

Two settings: the quickstart's small_cnn on scikit-learn's digits, and table 4's ddmnist_cnn on
random pictures of MNIST's size (the time of a step does not depend on the pixels).

Tracking: seconds to log a finished record to SQLite, divided by its epochs. Goal: under 5 ms an
epoch. It happens in the driver's writer thread; what training can feel of it is the CPU time, the
rest is waiting for the disk. Trainings of under a minute log at most 40 of their epochs
("thinned").

    python benchmarks/epoch.py [--rounds 5] [--records 8] [--json FILE]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from common import (
    Report,
    begin,
    open_dataset,
    overhead,
    prepare,
    quickstart,
    quickstart_trial,
    side_by_side,
    synthetic_double_digits,
    timed,
    wall,
)

from equigrid.datasets.resident import Dataset
from equigrid.objectives.regular import LatentAction
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, TrialFiles
from equigrid.tracking.store import Store
from equigrid.training.environment import environment
from equigrid.training.model import build_model
from equigrid.training.run import TrialRun
from equigrid.trial import Trial

POINT = {"lr": 1e-3, "lambda": 1.0}


def bare_epochs(trial: Trial, dataset: Dataset) -> Callable[[], None]:
    """A function that trains one epoch of the paper's method and passes over validation."""
    model = build_model(trial, dataset, "cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.hyperparameters["lr"])
    table = torch.from_numpy(dataset.composition.copy())
    action = LatentAction(dataset.group, [int(trial.model["latent"])], "cpu")
    loss_of = torch.nn.functional.cross_entropy
    size, order = dataset.size("train"), dataset.group.order
    views = dataset.views["val"]

    def epoch() -> None:
        model.train()
        for rows in torch.randperm(size).split(trial.training["batch_size"]):
            a, g = torch.randint(order, (2, len(rows)))
            first, second = torch.randint(dataset.draws, (2, len(rows)))
            y = dataset.targets("train", rows)
            z1 = model.encode(dataset.view("train", rows, a, first))
            z2 = model.encode(dataset.view("train", rows, table[g, a], second))
            loss = 0.5 * loss_of(model.head(z1), y) + 0.5 * loss_of(model.head(z2), y)
            loss = loss + POINT["lambda"] * (action(g, z1) - z2).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            for rows in dataset.chunks("val", "cpu"):
                a, g = views.elements[rows], views.pair_elements[rows]
                model(dataset.view("val", rows, a, views.draws[rows]))
                model.encode(dataset.view("val", rows, table[g, a], views.pair_draws[rows]))

    return epoch


def compare(report: Report, name: str, trial: Trial, dataset: Dataset, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = TrialRun(trial, dataset, "", TrialFiles.below(Path(folder)), "cpu")
        seconds = side_by_side(rounds, ours=run.run_epoch, bare=bare_epochs(trial, dataset))
        saving = [timed(run._save).wall for _ in range(rounds)]
    ours, bare = seconds["ours"], seconds["bare"]
    report.show(f"{name}: an epoch of the bare loop", wall(bare), "s", rounds)
    report.show(f"{name}: an epoch of a trial", wall(ours), "s", rounds)
    report.show(f"{name}: overhead, wall clock", overhead(ours, bare), "%", rounds)
    report.show(f"{name}: overhead, CPU time", overhead(ours, bare, "cpu"), "%", rounds)
    report.show(f"{name}: of it checkpoint and journal", 1000 * median(saving), "ms", rounds)


def record_of(trial: Trial, epochs: int, epoch_seconds: float) -> Record:
    """A record as long as a real one of that many epochs."""
    names = ("loss", "accuracy", "equivariance_loss")
    row = {f"{split}_{name}": 1 / 3 for split in ("train", "val") for name in names}
    history = tuple({**row, "val_equivariance_error": 1 / epoch} for epoch in range(1, epochs + 1))
    return Record(
        trial, trial.key, history, epochs, history[-1], None, 33742, "0" * 64, "0" * 64,
        environment("cpu"), 1.7e9, (epoch_seconds,) * epochs,
    )  # fmt: skip


def track(report: Report, count: int) -> None:
    """Through the functions the writer thread calls; connecting is left out (once a command)."""
    from equigrid.tracking.session import Session

    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        session = Session(Store(uri, Path(folder), "benchmark"))
        seed = 0
        for name, epochs, epoch_seconds, goal in (
            ("20 epochs", 20, 10.0, 5.0),
            ("150 epochs", 150, 10.0, 5.0),
            ("150 epochs, thinned", 150, 0.1, 5.0),
        ):
            spent = []
            for _ in range(count + 1):
                seed += 1
                trial = quickstart_trial(POINT, seed)
                record = record_of(trial, epochs, epoch_seconds)
                spent.append(timed(lambda t=trial, r=record: session.record(t, r)))
            seconds = wall(spent[1:])
            report.show(f"tracking a record of {name}", seconds, "s", count)
            cpu = median(each.cpu for each in spent[1:])
            report.show(f"tracking a record of {name}, CPU time", cpu, "s", count)
            per_epoch = 1000 * seconds / epochs
            report.show(f"tracking a record of {name}, an epoch", per_epoch, "ms", count, goal)


def main() -> None:
    report, options = begin(__doc__, rounds=5, records=8)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        _, recipe = quickstart()
        prepare(workspace, recipe)
        trial = quickstart_trial(POINT)
        dataset = open_dataset(workspace, recipe)
        compare(report, "small_cnn, 2000 pairs of 16x16", trial, dataset, options.rounds)

    builder, base = synthetic_double_digits("C4xC4", draws=4, train=5, held_out=1)
    cached = builder.augment(base, lambda done, total: None)
    dataset = builder.resident({**base, **cached}, "cpu")
    changes = {
        "model": {"name": "ddmnist_cnn", "width": 6, "latent": 66},
        "training": {**trial.training, "batch_size": 64, "epochs": 1000, "patience": 1000},
    }
    trial = Trial(**{**trial.to_dict(), **changes})
    compare(report, "ddmnist_cnn, 500 pairs of 56x56", trial, dataset, options.rounds)

    track(report, options.records)
    report.close()


if __name__ == "__main__":
    main()
