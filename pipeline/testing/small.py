"""Small datasets and trials for the cases: made in milliseconds, without raw files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from equigrid.config.resolution import resolve_dataset
from equigrid.config.schema import DatasetSpec
from equigrid.datasets.raw import RawStore
from equigrid.datasets.resident import Dataset
from equigrid.datasets.store import Arrays
from equigrid.files import canonical_json
from equigrid.lookup import model_entry, objective_entry
from equigrid.own_parts.source_code import fingerprints
from equigrid.parameters import filled
from equigrid.planning.open_run import resident
from equigrid.trial import Trial

#: Scikit-learn's digits, two a picture, under the reflections of each.
DIGITS: Mapping[str, Any] = {
    "builder": "ddmnist", "source": "digits", "group": "D1xD1", "digits": 2,
    "per_label": {"train": 12, "val": 6, "test": 5},
}  # fmt: skip


def recipe_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Of a dataset written as in a search space."""
    return resolve_dataset("data", DatasetSpec.model_validate(dict(spec))).recipe(RawStore())


@lru_cache
def _built(spec: str) -> tuple[Arrays, Dataset]:
    found = resolve_dataset("data", DatasetSpec.model_validate(json.loads(spec)))
    base = found.builder.build(RawStore(), lambda done, total: None)
    arrays = {**base, **found.builder.augment(base, lambda done, total: None)}
    return arrays, resident(found.recipe(RawStore()), arrays, "cpu")


def arrays_of(spec: Mapping[str, Any]) -> Arrays:
    """All of a dataset's arrays, made once a process."""
    return _built(canonical_json(dict(spec)))[0]


def dataset_of(spec: Mapping[str, Any]) -> Dataset:
    """A dataset on the CPU, made once a process."""
    return _built(canonical_json(dict(spec)))[1]


def part(written: Any) -> tuple[str, dict[str, Any]]:
    """Name and parameters of `name` or `{name: {parameter: value}}`."""
    if isinstance(written, str):
        return written, {}
    ((name, given),) = written.items()
    return name, dict(given or {})


def settings_of(name: str, given: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    return {"name": name, **filled(parameters, given)}


def trial_of(
    model: Any, objective: Any, point: Mapping[str, float], data: Mapping[str, Any], epochs: int
) -> Trial:
    """A final of seed 0, parts written as in a search space."""
    (model_name, model_given), (name, given) = part(model), part(objective)
    return Trial(
        experiment="case",
        row="row",
        dataset="data",
        role="final",
        model=settings_of(model_name, model_given, model_entry(model_name).parameters),
        objective=settings_of(name, given, objective_entry(name).parameters),
        data=recipe_of(data),
        hyperparameters={name: float(value) for name, value in point.items()},
        seed=0,
        training={
            "epochs": epochs,
            "batch_size": 16,
            "patience": epochs,
            "select": "val_loss",
        },
        code=fingerprints(model_name, name),
    )
