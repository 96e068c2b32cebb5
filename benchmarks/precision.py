"""What bf16 costs in accuracy and saves in time: trainings of a bundle again, seed by seed.

Every final of the given rows and datasets is trained again with `precision: bf16`, everything else
as its record says, and tested; shown are the mean of the paired differences (bf16 − fp32) of each
split's score, and its standard error. Needs the raw data (EQUIGRID_RAW_DIR). What was trained stays
in the workspace: the same command goes on.

    python benchmarks/precision.py results/ddmnist.small.equigrid accuracy CNN/D1 Ours/D1
"""

from __future__ import annotations

import argparse
import logging
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from common import machine, quiet

from equigrid.datasets.raw import RawStore
from equigrid.exchange.bundle import read_bundle
from equigrid.orchestration.worker import Worker
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.trial import Trial, data_key


def in_bf16(record: Record, workspace: Workspace) -> Record:
    """The record of the same training in bf16: the workspace's, or trained now."""
    content = record.trial.to_dict()
    training = {**content["training"], "precision": "bf16"}
    trial = Trial.from_dict({**content, "training": training, "role": "final"})
    known = workspace.record(trial.key)
    if known is not None and known.test:
        return known
    base = data_build(workspace, trial.data, RawStore(), quiet)
    prepared = augment_cache(workspace, trial.data, base, quiet)
    worker = Worker(workspace.root, {data_key(trial.data): prepared}, retries=0)
    worker.assign(trial)
    while (piece := worker.advance(3600)).state == "training":
        pass
    found = workspace.record(trial.key)
    if found is None:
        raise RuntimeError(f"{trial.describe()}: {piece.reason}")
    return found


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    words = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=words)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("score")
    parser.add_argument("arms", nargs="+", metavar="ROW/DATASET")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    options = parser.parse_args()
    machine()
    workspace = Workspace(options.workspace)
    finals = [it for it in read_bundle(options.bundle).records() if it.test]
    known = {f"{it.trial.row}/{it.trial.dataset}" for it in finals}
    if unknown := set(options.arms) - known:
        parser.error(f"{', '.join(unknown)}: the bundle has {', '.join(sorted(known))}")
    for arm in options.arms:
        differences: dict[str, list[float]] = defaultdict(list)
        before: dict[str, list[float]] = defaultdict(list)
        for full in sorted(finals, key=lambda it: it.trial.seed):
            if f"{full.trial.row}/{full.trial.dataset}" != arm:
                continue
            rounded = in_bf16(full, workspace)
            seconds = mean(full.epoch_seconds), mean(rounded.epoch_seconds)
            for split, scores in (full.test or {}).items():
                before[split].append(scores[options.score])
                assert rounded.test is not None
                differences[split].append(
                    rounded.test[split][options.score] - scores[options.score]
                )
            print(
                f"{arm} seed {full.trial.seed}: {seconds[0]:.1f} s an epoch recorded, "
                f"{seconds[1]:.1f} s in bf16", flush=True,
            )  # fmt: skip
        for split, each in differences.items():
            error = stdev(each) / len(each) ** 0.5 if len(each) > 1 else float("nan")
            print(
                f"{arm} {split}: {mean(before[split]):.4f} in fp32, bf16 {mean(each):+.4f} "
                f"(standard error {error:.4f}, n={len(each)})", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
