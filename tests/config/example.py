"""A search space without mistakes, and what is said of one with a mistake."""

from __future__ import annotations

import pytest

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError

SPACE = """\
title: Test
datasets:
  C4:
    builder: ddmnist
    source: digits
    group: C4xC4
    digits: 3
    per_label: {train: 8, val: 4, test: 5}
    artefacts: {draws: 2}
  D1:
    builder: ddmnist
    source: digits
    group: D1xD1
columns:
  C4:
    dataset: C4
    split: test_augmented
    metric: accuracy
  D1: {dataset: D1, split: test, metric: accuracy}
rows:
  Chance: {model: majority}
  CNN:
    model: small_cnn
    objective: augmented
    grid: {lr: [1e-3, 3e-3]}
  Ours:
    model: {small_cnn: {width: 12}}
    objective: {regular_representation: {task_weights: paper}}
    grid:
      lr: [1e-3]
      lambda: [0.5, 2]
    grid_for:
      D1: {lambda: [1]}
training: {epochs: 3, batch_size: 64}
seeds: {grid: [0], final: [0, 1]}
resources: {cpu: 1}
retries: 1
profiles:
  small:
    training: {epochs: 1}
    rows:
      CNN: {grid: {lr: [0.01]}}
  other:
    seeds: {final: [7]}
"""


def replaced(old, new):
    assert SPACE.count(old) == 1, f"{old!r} occurs {SPACE.count(old)} times"
    return SPACE.replace(old, new)


def refusal(path, profile=None):
    """The message, after checking that it is one printable line and that nothing was written."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        load_experiment(str(path), profile)
    assert sorted(path.parent.rglob("*")) == before
    message = str(caught.value)
    assert message.isprintable(), repr(message)
    return message
