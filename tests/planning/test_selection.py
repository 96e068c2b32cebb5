"""Selection: the best validation score, a stated tie rule, and test data never read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equigrid.planning.selection import Selection, select
from equigrid.record import Result
from equigrid.trial import Trial

TIES = ("lambda", "lr")


class Forbidden(Mapping[str, Mapping[str, float]]):
    """Test scores that nobody may look at."""

    def __getitem__(self, key: str) -> Mapping[str, float]:
        raise AssertionError("test scores were read")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("test scores were read")

    def __len__(self) -> int:
        raise AssertionError("test scores were read")


def trial(lr: float, strength: float | None = None, seed: int = 0) -> Trial:
    point = {"lr": lr} if strength is None else {"lr": lr, "lambda": strength}
    return Trial(
        experiment="e", row="Ours", dataset="D1", role="grid", model={"name": "m"},
        objective={"name": "o"}, data={}, hyperparameters=point, seed=seed, training={},
    )  # fmt: skip


def result(of: Trial, **validation: float) -> Result:
    scores = {f"val_{name}": value for name, value in validation.items()}
    return Result(of.key, scores, Forbidden(), 1, "cpu", "d" * 64)


def best(entries: Sequence[tuple[Trial, float]], metric: str = "accuracy") -> Selection:
    results = {each.key: result(each, **{metric: value}) for each, value in entries}
    found = select([each for each, _ in entries], results, f"val_{metric}", TIES)
    assert found is not None
    return found


def test_the_best_validation_score_is_chosen_and_recorded() -> None:
    found = best([(trial(1e-3, 0.5), 0.8), (trial(1e-3, 2.0), 0.9), (trial(3e-3, 2.0), 0.7)])
    assert found == Selection({"lr": 1e-3, "lambda": 2.0}, 0.9, candidates=3, failed=0)


def test_a_loss_is_better_when_lower() -> None:
    found = best([(trial(1e-3), 0.8), (trial(3e-3), 0.7)], metric="loss")
    assert found.point == {"lr": 3e-3}


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_ties_go_to_the_lower_strength_then_to_the_lower_rate(metric: str) -> None:
    points = [trial(3e-3, 2.0), trial(3e-3, 0.5), trial(1e-3, 2.0), trial(1e-3, 0.5)]
    assert best([(each, 0.5) for each in points], metric).point == {"lr": 1e-3, "lambda": 0.5}
    without = [each for each in points if each.hyperparameters != {"lr": 1e-3, "lambda": 0.5}]
    # The lower λ wins, although another point has the lower rate.
    assert best([(each, 0.5) for each in without], metric).point == {"lr": 3e-3, "lambda": 0.5}


def test_a_point_is_scored_by_the_mean_over_its_seeds() -> None:
    entries = [
        (trial(1e-3, seed=0), 1.0), (trial(1e-3, seed=1), 0.0),
        (trial(3e-3, seed=0), 0.6), (trial(3e-3, seed=1), 0.6),
    ]  # fmt: skip
    found = best(entries)
    assert found.point == {"lr": 3e-3}
    assert found.score == pytest.approx(0.6)


def test_a_point_with_a_seed_missing_does_not_count() -> None:
    trials = [trial(1e-3, seed=0), trial(1e-3, seed=1), trial(3e-3, seed=0), trial(3e-3, seed=1)]
    scores = (0.9, None, 0.4, 0.4)
    results = {
        each.key: result(each, accuracy=value)
        for each, value in zip(trials, scores, strict=True)
        if value is not None
    }
    assert select(trials, results, "val_accuracy", TIES) == Selection({"lr": 3e-3}, 0.4, 1, 1)


def test_no_score_no_selection() -> None:
    assert select([trial(1e-3)], {}, "val_accuracy", TIES) is None
    assert select([], {}, "val_accuracy", TIES) is None


@given(data=st.data())
def test_the_order_of_the_grid_changes_nothing(data: Any) -> None:
    grid = [trial(lr, strength) for lr in (1e-3, 3e-3, 1e-2) for strength in (0.1, 0.5, 2.0)]
    values = data.draw(st.lists(st.sampled_from((0.5, 0.75, 1.0)), min_size=9, max_size=9))
    entries = list(zip(grid, values, strict=True))
    assert best(data.draw(st.permutations(entries))) == best(entries)
