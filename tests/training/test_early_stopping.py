"""Early stopping: a function of the epochs so far."""

from __future__ import annotations

import pytest

from equigrid.metrics.direction import is_better
from equigrid.training.early_stopping import best_epoch, is_stale


def stops_after(scores, select="val_loss", **settings):
    """How many epochs of these scores a training takes; None where it goes on."""
    history = [{select: float(score)} for score in scores]
    counts = range(1, len(history) + 1)
    training = {"select": select, **settings}
    return next((n for n in counts if is_stale(history[:n], training)), None)


@pytest.mark.parametrize(
    ("score", "value", "than", "better"),
    [
        ("val_accuracy", 0.0, None, True),
        ("val_accuracy", 0.6, 0.5, True),
        ("val_accuracy", 0.5, 0.5, False),
        ("val_loss", 0.4, 0.5, True),
        ("val_loss", 0.5, 0.5, False),
        ("val_loss", 0.6, 0.5, False),
    ],
)
def test_only_strict_improvements_count(score, value, than, better):
    assert is_better(score, value, than) == better


def test_the_best_epoch_is_the_first_of_the_best_scores():
    def best(select, *scores):
        return best_epoch([{select: score} for score in scores], select)

    assert best("val_accuracy") == 0
    assert best("val_accuracy", 0.1, 0.5, 0.3, 0.5) == 2
    assert best("val_loss", 0.1, 0.05, 0.3, 0.05) == 2


@pytest.mark.parametrize("patience", [1, 3, 4])
def test_patience_counts_epochs_without_a_strictly_better_score(patience):
    """A score that never changes: the first epoch is best, `patience` more epochs follow."""
    assert stops_after([1] * 9, patience=patience) == 1 + patience
    assert stops_after([1] * 9, patience=9) is None
    better = [5, 6, 4, 4, 3, 3, 3, 3, 3]
    assert stops_after(better, patience=patience) == {1: 2, 3: 8, 4: 9}[patience]
    assert stops_after([0.1, 0.2, 0.2, 0.1], "val_accuracy", patience=2) == 4


@pytest.mark.parametrize(
    ("scores", "after"),
    [
        pytest.param([5, 4, 3, 2, 1, 1, 1, 1, 1], 8, id="flat"),
        pytest.param([1, 2, 3, 4, 5, 6, 7, 8, 9], 6, id="worse, but never before epoch 6"),
        pytest.param([9, 8, 7, 6, 5, 4, 3, 2, 1], None, id="better all along"),
        pytest.param([9, 8, 7, 6, 4, 6.5, 3, 2, 3], None, id="better on the whole"),
    ],
)
def test_a_trend_stops_when_a_window_is_no_better_than_the_one_before(scores, after):
    assert stops_after(scores, trend={"after": 5, "window": 2}) == after


def test_a_score_that_is_hardly_better_does_not_keep_a_training_going():
    """Each is held against the last that was better by more than min_delta."""
    slow = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert stops_after(slow, patience=3) is None
    assert stops_after(slow, patience=3, min_delta=10.0) == 4  # the first epoch counts
    assert stops_after(slow, patience=3, min_delta=0.25) is None  # 0.7 is so much better than 1
    assert stops_after([0.1, 0.2, 0.3, 0.31], "val_accuracy", patience=2, min_delta=0.15) is None
