"""Records: what is written is what is read, and anything else is refused by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equigrid.errors import InputError
from equigrid.record import Record, Result
from equigrid.trial import Trial

EPOCHS = (
    {"train_loss": 1.1, "val_loss": 1.0, "val_accuracy": 0.5},
    {"train_loss": 0.7, "val_loss": 0.6, "val_accuracy": 0.75},
    {"train_loss": 0.1 + 0.2, "val_loss": 0.9, "val_accuracy": 2 / 3},
)


@pytest.fixture
def record(make_trial: Callable[..., Trial]) -> Record:
    trial = make_trial(role="final")
    return Record(
        trial=trial,
        key=trial.key,
        history=EPOCHS,
        best_epoch=2,
        validation=EPOCHS[1],
        test={"test": {"loss": 0.8, "accuracy": 0.7}, "test_augmented": {"loss": 0.9}},
        parameters=123,
        data_sha256="d" * 64,
        weights_sha256="e" * 64,
        environment={"hardware": "a processor", "git_commit": "abc"},
        started=1.7e9 + 0.123,
        epoch_seconds=(0.1, 0.2, 0.3),
    )


def altered(record: Record, change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(record.to_json())
    change(data)
    return json.dumps(data)


def test_a_record_comes_back_as_it_was(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "records" / f"{record.key}.json"
    record.save(path)
    loaded = Record.load(path)
    assert loaded == record
    assert loaded.to_json() == path.read_text()


def test_a_trivial_record_has_no_epochs(record: Record, tmp_path: Path) -> None:
    trivial = replace(
        record, history=(), best_epoch=0, validation={}, epoch_seconds=(), weights_sha256=None
    )
    assert Record.from_json(trivial.to_json(), "here") == trivial


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(schema=2), "schema 2, expected 1"),
        (lambda d: d.pop("schema"), "schema None"),
        (lambda d: d.update(key="0" * 64), "does not belong to its configuration"),
        (lambda d: d["trial"].update(seed=7), "does not belong to its configuration"),
        (lambda d: d["trial"].pop("data"), "not a trial"),
        (lambda d: d["trial"].update(sedd=1), "sedd"),
        (lambda d: d.update(sedd=1), "sedd"),
        (lambda d: d.pop("validation"), "validation"),
        (lambda d: d["epoch_seconds"].pop(), "differ in length"),
        (lambda d: d.update(best_epoch=4), "best epoch 4 of 3"),
        (lambda d: d.update(best_epoch=0), "best epoch 0 of 3"),
        (lambda d: d.update(best_epoch=1), "not those of the best epoch"),
        (lambda d: d["validation"].update(val_accuracy=0.99), "not those of the best epoch"),
        (lambda d: d["history"][0].update(val_loss=float("nan")), "finite"),
        (lambda d: d["history"][0].update(val_loss="0.5"), "finite"),
        (lambda d: d["test"]["test"].update(accuracy=float("inf")), "finite"),
        (lambda d: d.update(history=3), "not a valid record"),
        (lambda d: d.update(test=[1]), "not a valid record"),
    ],
)
def test_what_contradicts_itself_is_refused(
    record: Record, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        Record.from_json(altered(record, change), "elsewhere.json")
    assert str(caught.value).startswith("elsewhere.json: not a valid record")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["environment"].pop("hardware"),
        lambda d: d["environment"].pop("git_commit"),
        lambda d: d.update(environment=None),
        lambda d: d.update(parameters="many"),
        lambda d: d.update(started="today"),
        lambda d: d["epoch_seconds"].__setitem__(0, "fast"),
        lambda d: d.update(data_sha256=None),
    ],
)
def test_what_readers_would_stumble_over_is_refused(
    record: Record, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(InputError, match=r"elsewhere\.json: not a valid record"):
        Record.from_json(altered(record, change), "elsewhere.json")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '"record"', "[" * 100_000])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"elsewhere\.json: not a valid record"):
        Record.from_json(text, "elsewhere.json")


def test_every_truncation_is_refused(record: Record, tmp_path: Path) -> None:
    whole, path = record.to_json(), tmp_path / "torn.json"
    for length in range(0, len(whole) - 2, 40):
        path.write_text(whole[:length])
        with pytest.raises(InputError, match="torn"):
            Record.load(path)


def test_bytes_that_are_no_text_are_refused(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "flipped.json"
    data = bytearray(record.to_json().encode())
    data[len(data) // 2] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(InputError, match="flipped"):
        Record.load(path)


def test_a_score_that_is_not_finite_is_never_written(record: Record, tmp_path: Path) -> None:
    broken = replace(record, test={"test": {"loss": float("nan")}})
    with pytest.raises(ValueError, match="JSON compliant"):
        broken.save(tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


def test_a_result_is_what_tables_need(record: Record) -> None:
    found = Result.of(record)
    assert (found.key, found.validation, found.test) == (record.key, EPOCHS[1], record.test)
    assert (found.parameters, found.device) == (123, "a processor")
    assert copy.deepcopy(found) == found


def test_a_record_of_training_version_1_is_read_and_loses_nothing() -> None:
    """Before records had sources and trials said their version; what came since is left out."""
    path = Path(__file__).parent / "data" / "record.version-1.json"
    record = Record.load(path)
    assert record.key == record.trial.key
    assert (record.objective_parameters, record.trial.metrics) == (0, {})
    then, now = json.loads(path.read_text("utf-8")), json.loads(record.to_json())
    assert now.pop("sources") == {}
    trial = now["trial"]
    gained = {"code": {}, "training_version": 1, "search_space_commit": ""}
    assert {name: trial.pop(name) for name in gained} == gained
    assert now == then
