"""Scores: those of medmnist's Evaluator, and errors over roll-outs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medmnist.evaluator import Evaluator
from medmnist.info import INFO
from torch import nn

from equigrid.metrics.metric import Scores
from equigrid.objectives.task import task_named

AUTOREGRESSION = task_named("autoregression")


def score(names, *batches):
    """Metrics over batches of (outputs, targets)."""
    scores = Scores(names)
    for outputs, targets in batches:
        scores.update(outputs, targets)
    return scores.compute()


@pytest.mark.parametrize("flag", ["nodulemnist3d", "organmnist3d"])
def test_accuracy_and_auc_are_medmnists(flag, tmp_path):
    """On the same predictions, of 2 classes and of 11, in batches of any size."""
    classes, n = len(INFO[flag]["label"]), 90
    random = torch.Generator().manual_seed(1)
    targets = torch.randperm(n, generator=random) % classes
    outputs = torch.randn(n, classes, generator=random) + torch.eye(classes)[targets]
    np.savez(tmp_path / f"{flag}.npz", test_labels=targets[:, None].numpy().astype(np.uint8))
    expected = Evaluator(flag, "test", root=str(tmp_path)).evaluate(outputs.softmax(1).numpy())
    batches = [torch.arange(n)[:7], torch.arange(n)[7:]]
    kept = [(outputs[rows], targets[rows]) for rows in batches]
    scores = score(("accuracy", "auc"), *kept)
    assert scores == {"accuracy": expected.ACC, "auc": pytest.approx(expected.AUC, abs=1e-12)}
    assert score(("accuracy",), *kept) == {"accuracy": expected.ACC}


def test_a_class_without_samples_has_no_curve():
    targets = torch.tensor([0, 2, 0, 2])
    outputs = torch.tensor([[3.0, 0, 0], [0, 0, 3], [2, 0, 1], [0, 0, 2]])
    assert score(("auc",), (outputs, targets)) == {"auc": 1.0}


def _fields(frames, n=5):
    random = torch.Generator().manual_seed(2)
    return torch.randn(2, n, frames, 2, 4, 4, generator=random)


def test_errors_over_a_roll_out_are_roots_of_means_over_everything():
    """Not means of roots: over windows, the first N frames, components and pixels."""
    outputs, targets = _fields(20)
    kept = [AUTOREGRESSION.keep(outputs[:2], targets[:2])]
    kept.append(AUTOREGRESSION.keep(outputs[2:], targets[2:]))
    scores = score(("rmse_20", "rmse_6"), (outputs[:2], targets[:2]), (outputs[2:], targets[2:]))
    squares = (outputs - targets).square()
    assert scores["rmse_20"] == pytest.approx(float(squares.mean().sqrt()))
    assert scores["rmse_6"] == pytest.approx(float(squares[:, :6].mean().sqrt()))
    for frame in range(20):
        expected = float(squares[:, frame].mean().sqrt())
        assert scores[f"rmse_frame_{frame + 1:02}"] == pytest.approx(expected)
    assert len(scores) == 22
    loss = float(squares.mean((0, 2, 3, 4)).sum())
    assert AUTOREGRESSION.mean_loss(kept) == pytest.approx(loss)
    assert float(AUTOREGRESSION.loss(outputs, targets)) == pytest.approx(loss)


def test_a_short_roll_out_has_only_the_scores_it_can_have():
    outputs, targets = _fields(6)
    scores = score(("rmse_20", "rmse_6"), (outputs, targets))
    assert scores.keys() == {"rmse_6"}


class Sum(nn.Module):
    """Its latent is its output."""

    def encode(self, x):
        return x.unflatten(1, (10, 2)).sum(1)

    def head(self, z):
        return z

    def forward(self, x):
        return self.encode(x)


@pytest.mark.parametrize("latent_known", [False, True])
def test_a_roll_out_feeds_each_frame_back(latent_known):
    """Every frame of this model is the sum of its input's: of the last ten, oldest out."""
    model, called = Sum(), []
    model.register_forward_pre_hook(lambda *_: called.append(1))
    x = torch.randn(3, 20, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    z = model.encode(x) if latent_known else None
    outputs = AUTOREGRESSION.predict(model, x, torch.empty(3, 7, 2, 4, 4), z)
    frames = list(x.unflatten(1, (10, 2)).unbind(1))
    for _ in range(7):
        frames.append(torch.stack(frames[-10:]).sum(0))
    torch.testing.assert_close(outputs, torch.stack(frames[10:], 1))
    assert len(called) == (6 if latent_known else 7)
