"""Plans: desired − finished. Losing a run, editing a grid, adding seeds are one operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import spaces

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.datasets.raw import RawStore
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import Gap, Plan, make_plan
from equigrid.planning.workspace import Failure, Workspace
from equigrid.record import Result
from equigrid.tracking.store import Tracked, TrackedRun, identity_of
from equigrid.trial import Trial

OURS, CNN, CHANCE = ("Ours", "D1"), ("CNN", "D1"), ("Chance", "D1")
TESTED = {"test": {"accuracy": 0.5}, "test_augmented": {"accuracy": 0.5}}


def experiment(folder: Path, **changes: Any) -> Experiment:
    return load_experiment(str(spaces.write(folder / "tiny.yaml", **changes)))


def recipes(wanted: Experiment) -> dict[str, Mapping[str, Any]]:
    return {name: each.recipe(RawStore()) for name, each in wanted.datasets.items()}


def plan(
    wanted: Experiment,
    finished: Iterable[Trial] = (),
    tested: Iterable[Trial] = (),
    failed: Iterable[Trial] = (),
    gaps: Mapping[str, Gap] | None = None,
) -> Plan:
    """A plan with results made up: the higher the rate, the better."""
    results = {}
    for trials, test in ((finished, None), (tested, TESTED)):
        for trial in trials:
            scores = {"val_accuracy": trial.hyperparameters.get("lr", 0.0)}
            results[trial.key] = Result(trial.key, scores, test, 9, "cpu", "d" * 64)
    failures = {trial.key: "it broke" for trial in failed}
    known = {name: it for name, it in recipes(wanted).items() if name not in (gaps or {})}
    return make_plan(wanted, known, results, failures, gaps or {})


def whole_grid(wanted: Experiment) -> list[Trial]:
    return plan(wanted).missing("grid")


def names(trials: Iterable[Trial]) -> list[tuple[str, Mapping[str, float], int]]:
    return [(trial.row, trial.hyperparameters, trial.seed) for trial in trials]


def test_nothing_finished_the_whole_grid_is_missing(tmp_path: Path) -> None:
    found = plan(experiment(tmp_path))
    assert names(found.missing("grid")) == [
        ("CNN", {"lr": 0.003}, 0),
        ("CNN", {"lr": 0.01}, 0),
        ("Ours", {"lr": 0.003, "lambda": 0.5}, 0),
        ("Ours", {"lr": 0.003, "lambda": 2.0}, 0),
    ]
    # A trivial row has nothing to select: its one final is known at once.
    assert names(found.missing("final")) == [("Chance", {}, 0)]
    assert found.unselected == (CNN, OURS)
    assert not found.is_complete


def test_a_finished_grid_gives_the_selection_and_the_finals(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    found = plan(wanted, finished=whole_grid(wanted))
    assert found.missing("grid") == []
    assert found.selections[CNN].point == {"lr": 0.01}  # type: ignore[union-attr]
    assert found.selections[OURS].point == {"lr": 0.003, "lambda": 0.5}  # type: ignore[union-attr]
    assert names(found.finals[CNN]) == [("CNN", {"lr": 0.01}, 0), ("CNN", {"lr": 0.01}, 1)]
    assert {trial.role for trials in found.finals.values() for trial in trials} == {"final"}
    # The final of the grid's seed is trained already, and still has to be tested.
    assert found.finals[CNN][0].key in found.results
    assert len(found.missing("final")) == 5


def test_a_row_waits_for_its_own_grid_only(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    found = plan(wanted, finished=[t for t in whole_grid(wanted) if t.row == "CNN"])
    assert found.unselected == (OURS,)
    assert CNN in found.finals
    assert OURS not in found.finals


def test_everything_tested_is_complete(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    finals = plan(wanted, finished=grid).missing("final")
    found = plan(wanted, finished=grid, tested=finals)
    assert found.is_complete
    assert found.missing("final") == []


def test_a_failed_trial_is_not_missing_and_not_finished(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    best, *others = [t for t in whole_grid(wanted) if t.row == "CNN"][::-1]
    rest = [t for t in whole_grid(wanted) if t.row == "Ours"]
    found = plan(wanted, finished=[*others, *rest], failed=[best])
    assert found.missing("grid") == []
    assert found.is_failed(best)
    # Selection goes on among what is left, and says so.
    selection = found.selections[CNN]
    assert selection is not None
    assert (selection.point, selection.candidates, selection.failed) == ({"lr": 0.003}, 1, 1)
    finals = found.missing("final")
    assert not plan(wanted, [*others, *rest], finals, [best]).is_complete


def test_a_grid_that_failed_altogether_has_no_finals(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    ours = [trial for trial in grid if trial.row == "Ours"]
    found = plan(wanted, finished=[t for t in grid if t not in ours], failed=ours)
    assert found.selections[OURS] is None
    assert OURS not in found.finals
    assert OURS not in found.unselected
    assert not found.is_complete


def test_a_failed_final_of_a_grid_seed_keeps_its_grid_result(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    final = plan(wanted, finished=grid).finals[CNN][0]
    found = plan(wanted, finished=grid, failed=[final])
    assert found.is_failed(final)
    assert found.is_finished(next(trial for trial in grid if trial.key == final.key))


@pytest.mark.parametrize(
    ("change", "new"),
    [
        pytest.param(
            {"lambda": [0.5, 2, 5]}, [("Ours", {"lr": 0.003, "lambda": 5.0}, 0)], id="one λ"
        ),
        pytest.param(
            {"lr": [0.001, 0.003]},
            [
                ("Ours", {"lr": 0.001, "lambda": 0.5}, 0),
                ("Ours", {"lr": 0.001, "lambda": 2.0}, 0),
            ],
            id="one rate",
        ),
        pytest.param({"lambda": [2]}, [], id="one λ less"),
    ],
)
def test_an_edited_grid_misses_exactly_the_new_trials(
    tmp_path: Path, change: dict[str, Any], new: list[Any]
) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    rows = {name: dict(row) for name, row in spaces.space()["rows"].items()}
    rows["Ours"]["grid"] = rows["Ours"]["grid"] | change
    edited = experiment(tmp_path, rows=rows)
    assert names(plan(edited, finished=grid).missing("grid")) == new


def test_one_more_seed_misses_exactly_its_finals(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    finals = plan(wanted, finished=grid).missing("final")
    edited = experiment(tmp_path, seeds={"grid": [0], "final": [0, 1, 2]})
    found = plan(edited, finished=grid, tested=finals)
    assert found.missing("grid") == []
    assert names(found.missing("final")) == [
        ("CNN", {"lr": 0.01}, 2),
        ("Ours", {"lr": 0.003, "lambda": 0.5}, 2),
    ]


def test_other_names_and_another_order_ask_for_nothing_new(tmp_path: Path) -> None:
    wanted = experiment(tmp_path)
    grid = whole_grid(wanted)
    finals = plan(wanted, finished=grid).missing("final")
    rows = spaces.space()["rows"]
    renamed = experiment(
        tmp_path, rows={"Plain": rows["CNN"], "Trivial": rows["Chance"], "Method": rows["Ours"]}
    )
    assert plan(renamed, finished=grid, tested=finals).is_complete


def test_two_rows_of_one_training_ask_for_it_once(tmp_path: Path) -> None:
    rows = spaces.space()["rows"]
    twice = rows | {"Same": {**rows["CNN"], "grid": {"lr": [0.01]}}}
    found = plan(experiment(tmp_path, rows=twice))
    assert len(found.missing("grid")) == 4
    assert len([t for trials in found.grid.values() for t in trials]) == 5


def test_a_dataset_that_cannot_be_had_is_a_gap_and_nothing_else(tmp_path: Path) -> None:
    datasets = {"D1": spaces.DATASET, "Other": spaces.DATASET | {"seed": 5}}
    columns = {name: {"dataset": name, "split": "test", "metric": "accuracy"} for name in datasets}
    wanted = experiment(tmp_path, datasets=datasets, columns=columns)
    found = plan(wanted, gaps={"Other": Gap("a file is missing")})
    assert {trial.dataset for trial in found.all_trials()} == {"D1"}
    grid = found.missing("grid")
    finals = plan(wanted, finished=grid, gaps={"Other": Gap("gone")}).missing("final")
    assert not plan(wanted, grid, finals, gaps={"Other": Gap("gone")}).is_complete


def test_the_workspace_says_what_is_finished_and_what_was_given_up(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")

    def now() -> Plan:
        return Ledger(wanted, workspace).plan()

    first, second, *others = now().missing("grid")
    for trial in others:
        spaces.made_up(trial).save(workspace.record_file(trial.key))
    assert now().missing("grid") == [first, second]
    workspace.quarantine(Failure(first, "it broke", "Traceback …", 3))
    assert now().missing("grid") == [second]
    assert now().failures[first.key] == "it broke"
    workspace.release(first.key)
    assert now().missing("grid") == [first, second]
    for trial in (first, second):
        spaces.made_up(trial).save(workspace.record_file(trial.key))
    for trial in now().missing("final"):
        spaces.made_up(trial, TESTED).save(workspace.record_file(trial.key))
    assert now().is_complete


def test_a_record_from_elsewhere_counts_as_ours(tmp_path: Path) -> None:
    wanted, workspace = experiment(tmp_path), Workspace(tmp_path / "workspace")
    grid = whole_grid(wanted)
    result = {"val_accuracy": 0.5}
    tracked = Tracked({
        identity_of(t): TrackedRun("1", "FINISHED", Result(t.key, result, None, 1, "cpu", "0"))
        for t in grid
    })  # fmt: skip
    found = Ledger(wanted, workspace).known_with(tracked)
    assert found.missing("grid") == []
