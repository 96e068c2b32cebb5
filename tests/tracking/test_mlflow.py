"""MLflow: a run per trial, written from its record, and what it says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import spaces
from tracked_runs import TESTED, content, identities, log, runs

from equigrid.record import Record
from equigrid.tracking.runs import metrics, parameters
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer
from equigrid.trial import Trial

pytestmark = pytest.mark.cluster


def test_every_trial_is_a_run_nested_under_its_row_and_dataset(
    store: Store, records: list[Record], make_trial: Callable[..., Trial]
) -> None:
    other = spaces.made_up(make_trial(row="CNN"))
    log(store, [*records, other])
    found = runs(store)
    assert {run.info.status for run in found} == {"FINISHED"}
    parents = {run.info.run_id: run for run in found if run.data.tags["role"] == "parent"}
    named = {run.data.tags["row"]: run_id for run_id, run in parents.items()}
    assert set(named) == {"Ours", "CNN"}
    assert {run.info.run_name for run in parents.values()} == {"Ours / D1", "CNN / D1"}
    children = [run for run in found if run.info.run_id not in parents]
    assert len(children) == 5
    for run in children:
        assert run.data.tags["mlflow.parentRunId"] == named[run.data.tags["row"]]
    assert set(identities(store).values()) == {1}


def test_a_run_says_everything_of_its_trial(store: Store, records: list[Record]) -> None:
    from mlflow.tracking import MlflowClient

    log(store, records)
    client = MlflowClient(store.uri)
    by_identity = {(it.data.tags["role"], it.data.tags.get("run_key")): it for it in runs(store)}
    for record in records:
        trial = record.trial
        run = by_identity[trial.role, record.key]
        # The values somebody filters by, and every setting by its path.
        assert run.data.params.items() >= {
            "lr": "0.003", "lambda": str(trial.hyperparameters["lambda"]), "seed": str(trial.seed),
            "model.name": "small_cnn", "model.width": "4", "model.latent": "10",
            "objective.name": "regular_representation", "objective.task_weights": "paper",
            "training.epochs": "4", "training.batch_size": "20",
            "data.builder": "ddmnist", "data.group": "D1xD1", "data.source": "digits",
        }.items()  # fmt: skip
        assert run.data.tags.items() >= {
            "row": "Ours", "dataset": "D1", "role": trial.role, "run_key": record.key,
            "data_sha256": record.data_sha256, "weights_sha256": "e" * 64,
            "seed": str(trial.seed), **record.environment,
        }.items()  # fmt: skip
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.digest == record.data_sha256[:36]
        assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training"}
        # The history, by epoch, at the times that the record has.
        for name in record.history[0]:
            history = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [
                (epoch, row[name]) for epoch, row in enumerate(record.history, 1)
            ]
            assert [m.timestamp for m in history] == [
                int((record.started + 0.125 * epoch) * 1000) for epoch in (1, 2, 3)
            ]
        assert run.data.metrics["best_val_accuracy"] == record.validation["val_accuracy"]
        assert run.data.metrics["best_epoch"] == record.best_epoch
        assert run.data.metrics["parameters"] == record.parameters
        assert run.info.start_time == int(record.started * 1000)
        artifact = client.download_artifacts(run.info.run_id, "record.json")
        assert Path(artifact).read_text() == record.to_json()


def test_what_mlflow_cannot_hold_is_held_by_its_beginning_and_hash(
    store: Store, make_trial: Callable[..., Trial]
) -> None:
    """Long texts, long names and many of them: `verify` compares with what is held, so that it
    can be satisfied, and two texts that differ beyond the limit are told apart."""
    deep = {"a" * 150: {"b" * 150: 1}, **{f"n{n}": n for n in range(150)}}
    models = [
        {"name": "small_cnn", "width": 4, "latent": 10, "text": "λ" * 6000 + end, "deep": deep}
        for end in ("", "one", "two")
    ]
    points = {f"searched_for_{n}": float(n) for n in range(20)}
    made = [
        spaces.made_up(make_trial(model=model, hyperparameters={"lr": 0.003, **points}))
        for model in models
    ]
    log(store, made)
    found = {run.data.tags["run_key"]: run for run in runs(store) if "run_key" in run.data.tags}
    for record in made:
        run = found[record.key]
        assert run.info.status == "FINISHED"
        assert dict(run.data.params) == parameters(record.trial)
        assert len(run.info.run_name) <= 250
    texts = {run.data.params["model.text"] for run in found.values()}
    assert len(texts) == 3
    assert max(map(len, texts)) == 6000
    assert "λ" * 6000 in texts
    assert sum(name.startswith("model.deep.a") for name in run.data.params) == 1


def test_only_finals_have_test_scores(store: Store, records: list[Record]) -> None:
    # The final's record, tested, is also the grid trial's: its run must not tell.
    log(store, [replace(records[2], trial=records[0].trial), *records[1:]])
    for run in runs(store):
        tests = {name: it for name, it in run.data.metrics.items() if name.startswith("test/")}
        if run.data.tags["role"] == "final":
            assert tests == {
                f"test/{split}/{name}": value
                for split, scores in TESTED.items()
                for name, value in scores.items()
            }
        else:
            assert tests == {}


def test_logging_twice_changes_nothing(store: Store, records: list[Record]) -> None:
    log(store, records)
    before = content(store)
    log(store, records)
    log(store, records[::-1])
    assert content(store) == before


def test_a_failure_is_a_failed_run_with_its_reason(store: Store, records: list[Record]) -> None:
    trial = records[0].trial
    for _ in range(2):
        with closing(Writer(store)) as writer:
            writer.failure(trial, "RuntimeError: λ is too large")
    (run,) = (run for run in runs(store) if run.data.tags["role"] == "grid")
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "RuntimeError: λ is too large"
    assert run.data.params["lambda"] == "0.5"
    # Run again with success, it is the same run.
    log(store, records[:1])
    (again,) = (run for run in runs(store) if run.data.tags["role"] == "grid")
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert "failure" not in again.data.tags


def test_what_is_read_back_is_what_was_recorded(store: Store, records: list[Record]) -> None:
    from equigrid.record import Result
    from equigrid.tracking import query

    assert query.read(store).results == {}
    log(store, records)
    with closing(Writer(store)) as writer:
        writer.failure(replace(records[0].trial, seed=9), "it broke")
    tracked = query.read(store)
    assert dict(tracked.results) == {
        records[2].key: Result.of(records[2]),  # the grid's record of this key has no test
        records[1].key: Result.of(records[1]),
        records[3].key: Result.of(records[3]),
    }
    assert list(tracked.failures.values()) == ["it broke"]
    identity = ("Ours", "D1", "final", records[2].key)
    fetched = query.fetch_record(store, tracked.runs[identity].run_id, Path(store.artifact_folder))
    assert fetched == records[2]


def test_the_table_from_mlflow_alone_is_the_table_from_records(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = spaces.undisturbed(tmp_path_factory)
    shutil.copy(done / "tiny.yaml", tmp_path)
    spaces.forked(
        "tables", "tiny.yaml", "--from-mlflow", folder=tmp_path,
        environ={"MLFLOW_TRACKING_URI": f"sqlite:///{done / 'workspace' / 'mlflow.db'}"},
    )  # fmt: skip
    assert not (tmp_path / "workspace" / "records").exists()
    assert spaces.tables(tmp_path / "workspace") == spaces.tables(done / "workspace")


def test_of_a_long_grid_trial_mlflow_gets_a_part_of_the_epochs_with_the_best_and_the_last(
    records: list[Record],
) -> None:
    epochs, best = 151, 62
    history = tuple({"val_loss": abs(epoch - best) + 1.0} for epoch in range(1, epochs + 1))
    record = replace(
        records[0], history=history, best_epoch=best, validation=history[best - 1],
        epoch_seconds=(30.0,) * epochs,
    )  # fmt: skip

    def curve(role: str) -> list[tuple[int, float]]:
        return [(it.step, it.value) for it in metrics(record, role) if it.key == "val_loss"]

    assert curve("final") == [(n, row["val_loss"]) for n, row in enumerate(history, 1)]
    thinned = curve("grid")
    assert set(thinned) < set(curve("final"))
    assert len(thinned) <= 42
    assert {best, epochs} < {step for step, _ in thinned}
