"""Stores that real clients wrote become the tables that a hand-written evaluation gives.

The expected cells are computed here from the trained curves themselves, and for scikit-learn from
MLflow's own data frames: with none of the code under test.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import clients
import pytest
import spaces
import yaml
from clients import DATASETS, METHODS, RATES, SEEDS, truth

from equigrid.errors import InputError
from equigrid.external_runs.opened import RunsTable, open_runs
from equigrid.planning.workspace import Workspace

pytestmark = pytest.mark.cluster
Cells = dict[tuple[str, str], tuple[dict[str, float], tuple[float, ...]]]


def store(client: str, folder: Path) -> str:
    """The address of a store that a client has written, in a process of its own."""
    uri = f"sqlite:///{folder / 'theirs.db'}"
    done = subprocess.run(
        [sys.executable, clients.__file__, client, uri], cwd=folder, capture_output=True, text=True,
        env=spaces.environment(OMP_NUM_THREADS="1"),
        timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return uri


def opened(folder: Path, uri: str, runs: Mapping[str, Any], **content: Any) -> RunsTable:
    columns = {d: {"dataset": d, "metric": "test_acc", "higher_is_better": True} for d in DATASETS}
    space = {"runs": {"store": uri, **runs}, "columns": columns, **content}
    (folder / "theirs.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    return open_runs(str(folder / "theirs.yaml"), None, Workspace(folder / "workspace"))


def cells(table: RunsTable) -> Cells:
    return {place: (dict(cell.point), cell.values) for place, cell in table.assembled.cells.items()}


def by_hand(
    score: Callable[[str, str, float, int], tuple[float, float]],
    rates: Callable[[str, str], tuple[float, ...]] = lambda _m, _d: RATES,
) -> Cells:
    """score: (what selects, test) of a run. The point with the best mean over all seeds."""
    found: Cells = {}
    for method in METHODS:
        for dataset in DATASETS:
            runs = {lr: [score(method, dataset, lr, seed) for seed in SEEDS]
                    for lr in rates(method, dataset)}  # fmt: skip
            lr = max(runs, key=lambda it: fmean(val for val, _ in runs[it]))
            found[method, dataset] = ({"lr": lr}, tuple(test for _, test in runs[lr]))
    return found


def accounted(table: RunsTable) -> dict[str, int]:
    return {fate: len(them) for fate, them in table.collection.fates().items()}


def test_a_years_scripts_with_every_fault(tmp_path: Path) -> None:
    uri = store("plain", tmp_path)
    before = hashlib.sha256((tmp_path / "theirs.db").read_bytes()).hexdigest()
    table = opened(
        tmp_path, uri,
        {
            "experiments": ["plain-first", "plain-second"], "filter": "tags.version = '2'",
            "row": "params.model", "dataset": "params.data", "seed": "tags.seed",
            "rename": {"params.learning_rate": "params.lr"}, "missing": {"params.dropout": 0},
            "searched": ["params.lr", "params.dropout"],
            "select": {"metric": "val_acc", "mode": "max"},
        },
        rows={METHODS[0]: METHODS[0], METHODS[1]: METHODS[1]},
        seeds={"final": list(SEEDS)},
    )  # fmt: skip

    def score(method: str, dataset: str, lr: float, seed: int) -> tuple[float, float]:
        val, test = truth(method, dataset, lr, seed)
        best = val.index(max(val))
        return val[best], test[best] if method == METHODS[0] else test[-1]

    expected = by_hand(score)
    found = cells(table)
    for (method, dataset), (point, values) in expected.items():
        # The option that came later is known where any run of the row and dataset has it.
        more = {"dropout": 0.0} if dataset == "svhn" else {}
        assert found[method, dataset] == (point | more, values)
        cell = table.assembled.cells[method, dataset]
        assert (cell.mean, cell.std) == (fmean(values), pstdev(values))
    told = accounted(table)
    lost = len(METHODS) * len(DATASETS) * len(SEEDS)
    assert told == {
        "in a cell": lost, "in the selection alone": lost, "parent of other runs": 2 * lost,
        "point without all its seeds": 2, "status FAILED": 1, "status RUNNING": 1,
        "left out by filter": 1, "without tags.seed": 1, "tags.seed is no whole number": 1,
        "row not in the table": 1, "dataset in no column": 1, "val_acc not finite": 3,
    }  # fmt: skip
    notes = "\n".join(table.assembled.notes)
    assert f"Of {sum(told.values())} runs: {lost} in a cell" in notes
    assert "6 of 12 were logged once for a run" in notes
    assert r"vit\&co" in table.latex()
    assert r"res\_net" in table.latex()
    assert hashlib.sha256((tmp_path / "theirs.db").read_bytes()).hexdigest() == before
    assert not (tmp_path / "mlruns").exists()


def test_ray_tune_and_its_callback(tmp_path: Path) -> None:
    uri = store("tune", tmp_path)
    table = opened(
        tmp_path, uri,
        {
            "experiments": ["tune"], "row": "params.model", "dataset": "params.setting/data",
            "seed": {"key": "metrics.config/setting/seed"}, "searched": ["params.setting/lr"],
            "select": {"metric": "val_acc", "mode": "max"},
        },
    )  # fmt: skip

    def score(method: str, dataset: str, lr: float, seed: int) -> tuple[float, float]:
        val, test = truth(method, dataset, lr, seed)
        return max(val), test[val.index(max(val))]

    def whole(method: str, _dataset: str) -> tuple[float, ...]:
        return RATES[:1] if method == METHODS[1] else RATES

    expected = {
        place: ({"setting/lr": point["lr"]}, values)
        for place, (point, values) in by_hand(score, whole).items()
    }
    assert cells(table) == expected
    assert accounted(table)["status FAILED"] == 2


def test_scikit_learns_grid_search_under_autolog(tmp_path: Path) -> None:
    """The parent has the test score, and the search is inside it: nothing is left to select."""
    uri = store("sklearn", tmp_path)
    columns = {
        name: {"dataset": f"sklearn-{name}", "metric": metric, "higher_is_better": True}
        for name, metric in (("iris", "GridSearchCV_score_x_test"), ("wine", "truth"))
    }
    table = opened(
        tmp_path, uri,
        {
            "experiments": ["sklearn-iris", "sklearn-wine"], "nested": "parents",
            "row": {"key": "params.estimator", "pattern": r"^(\w+)\("},
            "dataset": "attributes.experiment",
            "seed": {"key": "attributes.run_name", "pattern": r"seed_(\d+)"},
            "statuses": ["FINISHED", "FAILED"],
            # What a search chose is a result of it; which of two equal points, the machine decides.
            "ignore": ["params.best_n_neighbors", "params.best_C"],
        },
        columns=columns,
    )  # fmt: skip
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for name, metric in (("iris", "GridSearchCV_score_x_test"), ("wine", "truth")):
        of = client.get_experiment_by_name(f"sklearn-{name}").experiment_id
        for run in client.search_runs([of]):
            # Once, on a machine under load, MLflow had not logged the score of one of them.
            if "mlflow.parentRunId" not in run.data.tags and metric in run.data.metrics:
                row = run.data.params["estimator"].partition("(")[0]
                seeds = scores.setdefault((row, name), {})
                seeds[run.info.run_name] = run.data.metrics[metric]
                assert seeds[run.info.run_name] == run.data.metrics["truth"]
    expected = {place: ({}, tuple(it[n] for n in sorted(it))) for place, it in scores.items()}
    assert len(expected) == 4
    assert cells(table) == expected, [(it.run.name, it.fate) for it in table.collection.entries]
    fates = accounted(table)
    assert (fates["in a cell"], fates["child of another run"]) == (
        sum(map(len, scores.values())),
        24,
    )
    assert sum(fates.values()) == 36


@pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")
def test_lightnings_logger(tmp_path: Path) -> None:
    """Steps are global ones, scores single precision, and the test stands after the last step."""
    uri = store("lightning", tmp_path)
    table = opened(
        tmp_path, uri,
        {
            "experiments": ["lightning"], "row": "params.model", "dataset": "params.data/name",
            "seed": {"key": "attributes.run_name", "pattern": r"-(\d+)$"},
            "ignore": ["params.seed"], "searched": ["params.lr"],
            "select": {"metric": "val_acc", "mode": "max"},
        },
    )  # fmt: skip

    def single(value: float) -> float:
        import numpy

        return float(numpy.float32(value))

    expected = by_hand(lambda *place: (max(truth(*place)[0]), single(truth(*place)[1][-1])))
    assert cells(table) == expected
    assert "all were logged once for a run" in "\n".join(table.assembled.notes)


@pytest.mark.skipif(importlib.util.find_spec("optuna_integration") is None, reason="needs optuna")
def test_optunas_callback(tmp_path: Path) -> None:
    """A pruned trial is FINISHED, with the best score of all; a tag says what it is."""
    uri = store("optuna", tmp_path)
    runs = {
        "experiments": ["optuna"], "row": "params.model", "dataset": "params.data",
        "seed": "params.seed", "searched": ["params.lr"],
        "select": {"metric": "val_acc", "mode": "max"}, "only": {"tags.state": "COMPLETE"},
    }  # fmt: skip
    table = opened(tmp_path, uri, runs)
    expected = by_hand(lambda *place: (truth(*place)[0][-1], truth(*place)[1][-1]))
    assert cells(table) == expected
    assert accounted(table)["left out by only"] == 1


def test_children_that_carry_the_seed_alone(tmp_path: Path) -> None:
    """What a method is stands in the parent; the children have it where the file says so."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'theirs.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment("nested")
    for model in METHODS:
        parent = client.create_run(experiment).info.run_id
        client.log_param(parent, "model", model)
        client.log_metric(parent, "test_acc", 1.0)
        for seed in SEEDS:
            child = client.create_run(experiment).info.run_id
            client.log_batch(
                child, [Metric("test_acc", seed / 10, 0, 0)], [Param("seed", str(seed))],
                [RunTag("mlflow.parentRunId", parent)],
            )  # fmt: skip
            client.set_terminated(child)
    runs = {"experiments": ["nested"], "row": "params.model", "seed": "params.seed"}
    columns = {"T": {"metric": "test_acc", "higher_is_better": True}}
    with pytest.raises(InputError, match=r"no run has a row.*6 without params\.model"):
        _ = opened(tmp_path, uri, runs, columns=columns).assembled
    table = opened(tmp_path, uri, {**runs, "inherit": True}, columns=columns)
    assert cells(table) == {(model, "T"): ({}, (0.0, 0.1, 0.2)) for model in METHODS}
    assert "its parent's parameters" in "\n".join(table.assembled.notes)
