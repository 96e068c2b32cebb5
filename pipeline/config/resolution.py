"""Rows and datasets of a search space, resolved: names looked up, defaults filled in, checked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config.schema import Component, DatasetSpec, RowSpec, refuse
from pipeline.datasets.builder import Builder, check_builder
from pipeline.datasets.raw import RawStore
from pipeline.datasets.recipe import group_named, recipe_of
from pipeline.errors import InputError
from pipeline.own_parts.blame import users_code
from pipeline.own_parts.source_code import fingerprints
from pipeline.registry import Model, dataset_builder, model_entry, objective_entry
from pipeline.trial import COMPONENT

#: Of one row's grid for one dataset.
MOST_POINTS = 10_000


@dataclass(frozen=True)
class Row:
    """A method. grids: hyperparameter points per dataset, in the order of the file.

    code: fingerprints of the model and the objective that come from outside the package.
    """

    model: Mapping[str, Any]
    objective: Mapping[str, Any]
    trivial: bool
    passes: int
    searched: tuple[str, ...]
    grids: Mapping[str, tuple[Mapping[str, float], ...]]
    code: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    builder_name: str
    group_name: str
    builder: Builder

    def recipe(self, raw: RawStore) -> dict[str, Any]:
        """Everything that determines the arrays."""
        return recipe_of(self.builder_name, self.group_name, self.builder, raw)


def resolve_dataset(name: str, spec: DatasetSpec) -> Dataset:
    """A builder with its parameters and group; raises what `refuse` makes."""
    place = ("datasets", name)
    if not COMPONENT.fullmatch(spec.builder):
        raise refuse(f"{spec.builder!r} is neither a name nor module:object", *place, "builder")
    try:
        builder_class = dataset_builder(spec.builder)
    except InputError as error:
        raise refuse(str(error), *place, "builder") from error
    try:
        group = group_named(spec.group)
    except InputError as error:
        raise refuse(str(error), *place, "group") from error
    extra = spec.model_extra or {}
    names = builder_class.Parameters.model_fields
    for key in extra:
        if key not in names:
            allowed = ", ".join(sorted(("builder", "group", *names)))
            raise refuse(f"unknown key {key!r}; allowed: {allowed}", *place, key)
    try:
        with users_code(spec.builder, ValidationError):
            parameters = builder_class.Parameters.model_validate(extra, strict=True)
    except InputError as error:
        raise refuse(str(error), *place) from error
    except ValidationError as error:
        details = error.errors()[0]
        where = (*place, *details["loc"])
        if details["type"] == "extra_forbidden":
            allowed = ", ".join(sorted(_keys_at(builder_class.Parameters, details["loc"][:-1])))
            raise refuse(f"unknown key {where[-1]!r}; allowed: {allowed}", *where) from error
        raise refuse(f"{details['input']!r}: {details['msg']}", *where) from error
    try:
        with users_code(spec.builder, ValueError):
            builder = builder_class(parameters, group)
            check_builder(builder)
    except (ValueError, InputError) as error:
        raise refuse(str(error), *place) from error
    return Dataset(spec.builder, spec.group, builder)


def _keys_at(model: type[BaseModel], place: tuple[str | int, ...]) -> Iterable[str]:
    """The keys of the model that lies at a place within another."""
    for part in place:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(
            each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)
        )
    return model.model_fields


def _component(spec: Component, *path: str) -> tuple[str, dict[str, Any]]:
    """`name` or `{name: {parameter: value}}`."""
    if isinstance(spec, str):
        spec = {spec: {}}
    name, parameters = next(iter(spec.items()))
    if not COMPONENT.fullmatch(name):
        raise refuse(f"{name!r} is neither a name nor module:object", *path)
    return name, parameters or {}


def _filled(
    name: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    choices: Mapping[str, tuple[Any, ...]],
    *path: str,
) -> dict[str, Any]:
    """The parameters with all defaults filled in, types as the defaults'."""
    filled: dict[str, Any] = {"name": name, **defaults}
    for key, value in given.items():
        if key not in defaults:
            allowed = ", ".join(sorted(defaults)) or "none"
            raise refuse(f"unknown parameter {key!r} of {name}; allowed: {allowed}", *path, key)
        expected = type(defaults[key])
        whole = expected is float and type(value) is int
        if type(value) is not expected and not whole:
            raise refuse(f"{value!r}: expected {expected.__name__}", *path, key)
        if expected in (int, float) and not 0 < value < math.inf:
            raise refuse(f"{value!r}: expected a positive number", *path, key)
        if key in choices and value not in choices[key]:
            allowed = ", ".join(map(str, choices[key]))
            raise refuse(f"{value!r}: allowed: {allowed}", *path, key)
        filled[key] = float(value) if whole else value
    return filled


def resolve_row(name: str, spec: RowSpec, datasets: Mapping[str, Dataset]) -> Row:
    """A model and objective that suit every dataset, and its grids; raises what `refuse` makes."""
    place = ("rows", name)
    model_name, given = _component(spec.model, *place, "model")
    try:
        model = model_entry(model_name)
    except InputError as error:
        raise refuse(str(error), *place, "model") from error
    settings = _filled(model_name, given, model.defaults, {}, *place, "model", model_name)
    for dataset in datasets.values():
        _check_model(model_name, model, dataset, *place, "model")
    if model.trivial:
        for key in ("objective", "grid", "grid_for"):
            if key in spec.model_fields_set:
                raise refuse(f"{model_name} is not trained: it takes no {key}", *place, key)
        empty: dict[str, float] = {}
        grids = dict.fromkeys(datasets, (empty,))
        return Row(settings, {"name": "none"}, True, 0, (), grids, fingerprints(model_name))
    if spec.objective is None:
        raise refuse("an objective is missing: augmented, unaugmented, …", *place)
    objective_name, given = _component(spec.objective, *place, "objective")
    try:
        objective = objective_entry(objective_name)
    except InputError as error:
        raise refuse(str(error), *place, "objective") from error
    objective_settings = _filled(
        objective_name, given, objective.defaults, objective.choices,
        *place, "objective", objective_name,
    )  # fmt: skip
    if objective.task != model.task:
        raise refuse(f"{objective_name} is for {objective.task}, {model_name} for {model.task}",
                     *place, "objective")  # fmt: skip
    for key in spec.grid_for:
        if key not in datasets:
            known = ", ".join(datasets)
            raise refuse(f"no dataset {key!r}; there are: {known}", *place, "grid_for", key)
    points = {dataset: _points(name, spec, dataset, objective.searched) for dataset in datasets}
    if objective.needs_latent and not model.latent_maps:
        latent = settings.get("latent")
        for key, resolved in datasets.items():
            order = resolved.builder.group.order
            if not isinstance(latent, int) or latent < order:
                raise refuse(
                    f"the latent ({latent}) is smaller than the group {resolved.group_name} of "
                    f"dataset {key} ({order} elements): allowed: latent >= {order}",
                    *place, "model",
                )  # fmt: skip
    return Row(
        settings, objective_settings, False, objective.passes, objective.searched, points,
        fingerprints(model_name, objective_name),
    )  # fmt: skip


def _check_model(name: str, model: Model, dataset: Dataset, *place: str) -> None:
    """Refuse a model that cannot serve a dataset."""
    builder = dataset.builder
    if model.task != builder.task:
        message = f"{name} is for {model.task}, {dataset.builder_name} is {builder.task}"
        raise refuse(message, *place)
    axes = None if builder.input_shape is None else len(builder.input_shape) - 1
    if None not in (model.axes, axes) and model.axes != axes:
        message = f"{name} takes grids of {model.axes} axes, {dataset.builder_name} has {axes}"
        raise refuse(message, *place)


def _points(
    name: str, spec: RowSpec, dataset: str, searched: tuple[str, ...]
) -> tuple[Mapping[str, float], ...]:
    values: dict[str, list[float] | None] = {}
    place: tuple[str, ...] = ("rows", name, "grid")
    for where, grid in (
        (place, spec.grid),
        (("rows", name, "grid_for", dataset), spec.grid_for.get(dataset)),
    ):
        for key, given in () if grid is None else (("lr", grid.lr), ("lambda", grid.strengths)):
            if given is None:
                continue
            if key not in searched:
                allowed = ", ".join(searched)
                raise refuse(f"the objective has no {key!r}; it searches: {allowed}", *where, key)
            values[key] = given
    for key in searched:
        if values.get(key) is None:
            raise refuse(f"{key!r} is missing: a list of values to search", *place)
    axes = [values[key] or [] for key in searched]
    if (size := math.prod(map(len, axes))) > MOST_POINTS:
        raise refuse(f"a grid of {size} points; at most {MOST_POINTS}", *place)
    return tuple(dict(zip(searched, point, strict=True)) for point in itertools.product(*axes))
