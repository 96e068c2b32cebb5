"""Trials that are trained to their end, and compared."""

from __future__ import annotations

from dataclasses import asdict

import torch

from equigrid.training.weights import load_weights


def train(run):
    while not run.done:
        run.run_epoch()
    return run.finish()


def without_times(record):
    return {k: v for k, v in asdict(record).items() if k not in ("started", "epoch_seconds")}


def assert_same(record, other, files, other_files):
    """The records but for their times, and the best weights to the bit."""
    assert without_times(record) == without_times(other)
    weights, others = (load_weights(each.weights)[0] for each in (files, other_files))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
