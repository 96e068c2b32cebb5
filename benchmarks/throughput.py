"""Trainings a second of the whole machine: memory returned or kept, and bf16.

As many trainings at once as there are cores, one thread each, in processes of their own; the kinds
take turns. Trial-epochs: table 4's D1 with 5 000 pairs of 56×56 to train on (half of the published
ones; batch 256) and 1 000 to validate on, random pictures: the time does not depend on them. Steps:
the other tables' networks at their published batch, on random inputs.

    python benchmarks/throughput.py [--rounds 5] [--network 0] [--theirs 0] [--json FILE]

returned: freed memory goes back to the system at once, as glibc has it. kept: as a worker trains.
bf16: kept, and `precision: bf16`. Losses of returned and kept are compared to the bit.
--network 1, 2, …: that one alone. --theirs: milliseconds that an epoch of 10 000 such pairs takes
another loop of --network's row which has all cores, on this machine, over one round of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import Report, begin, synthetic_double_digits

from equigrid.config.experiment import load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.models.field_cnn import FieldCNN
from equigrid.models.resnet3d import ResNet3D
from equigrid.record import TrialFiles
from equigrid.training.memory import keep_freed
from equigrid.training.normalisation import with_accurate_sums
from equigrid.training.precision import fit_for_bf16
from equigrid.training.run import TrialRun
from equigrid.trial import Trial

KINDS = ("returned", "kept", "bf16")
#: The rows of table 4 of which an epoch is trained.
ROWS = ("CNN", "Ours")
#: Of a step: the network, the batch, and how many make a round.
STEPS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...], int]] = {
    "resnet3d, 32 volumes of 28³": (lambda: ResNet3D((1, 28, 28, 28), 2), (32, 1, 28, 28, 28), 5),
    "field_cnn, 16 windows of 64×64": (lambda: FieldCNN((20, 64, 64), 2), (16, 20, 64, 64), 5),
}
NETWORKS = (*ROWS, *STEPS)


def trial_epochs(row: str, kind: str) -> Callable[[], float]:
    """A function that trains an epoch of a row of table 4's D1 and returns its loss."""
    experiment = load_experiment("ddmnist", "optimum")
    builder, base = synthetic_double_digits("D1xD1", draws=0, train=50, held_out=10)
    dataset = builder.resident({**base, **builder.augment(base, lambda *_: None)}, "cpu")
    point = {"lr": 1e-3} | ({"lambda": 1.0} if row == "Ours" else {})
    recipe = experiment.datasets["D1"].recipe(RawStore())
    trial = experiment.trial(row, "D1", point, 0, "grid", recipe).to_dict()
    if kind == "bf16":
        trial["training"] = {**trial["training"], "precision": "bf16"}
    files = TrialFiles.below(Path(tempfile.mkdtemp()))
    run = TrialRun(Trial.from_dict(trial), dataset, "", files, "cpu")
    return lambda: run.run_epoch()["train_loss"]


def some_steps(name: str, kind: str) -> Callable[[], float]:
    make, shape, count = STEPS[name]
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    with_accurate_sums(model)
    if kind == "bf16":
        fit_for_bf16(model)
    layout: Any = {4: torch.channels_last, 5: torch.channels_last_3d}[x.ndim]
    model = model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters())

    def steps() -> float:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
                outputs = model(x)
                loss = torch.nn.functional.mse_loss(outputs, torch.zeros_like(outputs))
            loss.backward()
            optimizer.step()
        return loss.item()

    return steps


def train(kind: str, network: str) -> None:
    """A training process: a round for every line it gets, answered by the loss."""
    if kind != "returned":
        keep_freed()
    one_round = (some_steps if network in STEPS else trial_epochs)(network, kind)
    for _ in sys.stdin:
        print(json.dumps(one_round()), flush=True)


class Trainings:
    """One process a core."""

    def __init__(self, kind: str, network: str) -> None:
        command = [sys.executable, __file__, "--train", kind, network]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(os.cpu_count() or 1)
        ]

    def round(self) -> tuple[float, float]:
        """Seconds until all have done a round; the loss of the first."""
        begun = time.perf_counter()
        for each in self.processes:
            assert each.stdin is not None
            each.stdin.write("\n")
            each.stdin.flush()
        losses = [float(json.loads(it.stdout.readline())) for it in self.processes if it.stdout]
        return time.perf_counter() - begun, losses[0]

    def end(self) -> None:
        for each in self.processes:
            each.communicate("")


def measure(report: Report, network: str, rounds: int, theirs: float) -> None:
    """theirs: seconds, 0 where nothing is compared."""
    kinds = {kind: Trainings(kind, network) for kind in KINDS}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for number in range(rounds + 1):
        for kind, trainings in kinds.items():
            result = trainings.round()
            if number:  # the first warms caches and allocators
                found[kind].append(result)
    for trainings in kinds.values():
        trainings.end()
    count, each = len(kinds["kept"].processes), 1 if network in ROWS else STEPS[network][2]
    what = "trial-epochs" if network in ROWS else "steps"
    for kind, results in found.items():
        seconds = median(it for it, _ in results)
        report.show(f"{network}, {kind}: {what}/s", count * each / seconds, "", rounds)
        report.show(f"{network}, {kind}: a round of all", seconds, "s", rounds)
        if kind != "returned":
            pairs = zip(found["returned"], results, strict=True)
            times = median(before / after for (before, _), (after, _) in pairs)
            report.show(f"  times as many as returned, {kind}", times, "", rounds)
        if theirs and network in ROWS:
            report.show(f"  times the other loop, {kind}", theirs / seconds, "", rounds)
    same = [a for _, a in found["returned"]] == [b for _, b in found["kept"]]
    report.show(f"{network}: losses, kept as returned", float(same), "1 = equal", rounds)


def main() -> None:
    if sys.argv[1:2] == ["--train"]:
        train(*sys.argv[2:])
        return
    report, options = begin(__doc__, rounds=5, network=0, theirs=0)
    for network in NETWORKS if not options.network else [NETWORKS[options.network - 1]]:
        measure(report, network, options.rounds, options.theirs / 1000)
    report.close()


if __name__ == "__main__":
    main()
