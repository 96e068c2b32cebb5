"""Rows and datasets of a search space, resolved: names looked up, defaults filled in, checked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from equigrid.config.schema import Component, DatasetSpec, RowSpec, TrainingSpec, refuse
from equigrid.datasets.builder import Builder, check_builder
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import group_named, recipe_of
from equigrid.errors import InputError
from equigrid.lookup import (
    dataset_builder,
    metric_entry,
    model_entry,
    objective_entry,
    serves,
    task_entry,
)
from equigrid.own_parts.source_code import fingerprints
from equigrid.own_parts.user_errors import users_code
from equigrid.parameters import filled
from equigrid.registry import OPTIMISER_SEARCHED, ModelEntry, ObjectiveEntry
from equigrid.symmetry import plane_group
from equigrid.trial import COMPONENT, COMPONENTS, shown

#: Of one row's grid for one dataset.
MOST_POINTS = 10_000


@dataclass(frozen=True)
class Row:
    """A method. grids: hyperparameter points per dataset, in the order of the file.

    searched: what its grid may have, and whose it is: optimiser, objective or model.
    code: fingerprints of the model and the objective that come from outside the package.
    own: the objective's hyperparameters, in its order. scores: what it measures itself.
    training: the search space's, with what is otherwise for this row.
    baseline: the row that it is to improve on, empty where none is named; of a control its
    method's. control_of: the method that it is a control of, else empty.
    """

    model: Mapping[str, Any]
    objective: Mapping[str, Any]
    trivial: bool
    passes: int
    searched: Mapping[str, str]
    grids: Mapping[str, tuple[Mapping[str, float], ...]]
    training: TrainingSpec
    code: Mapping[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    baseline: str = ""
    control_of: str = ""

    def model_at(self, point: Mapping[str, float]) -> Mapping[str, Any]:
        """The model's settings at a point of the grid."""
        here = {
            name: type(self.model[name])(value)  # a point has floats, a width is none
            for name, value in point.items()
            if self.searched.get(name) == "model"
        }
        return {**self.model, **here} if here else self.model

    @property
    def ties(self) -> tuple[str, ...]:
        """Of equal scores the lower values win, in this order."""
        first = (*self.own, "lr")
        return (*first, *(name for name in self.names if name not in first))

    @property
    def names(self) -> tuple[str, ...]:
        """What its grids search, in the order of a point."""
        there = {name for points in self.grids.values() for point in points for name in point}
        return tuple(name for name in self.searched if name in there)


@dataclass(frozen=True)
class ResolvedDataset:
    builder_name: str
    group_name: str
    builder: Builder

    def recipe(self, raw: RawStore) -> dict[str, Any]:
        """Everything that determines the arrays."""
        return recipe_of(self.builder_name, self.group_name, self.builder, raw)


def resolve_dataset(name: str, spec: DatasetSpec) -> ResolvedDataset:
    """A builder with its parameters and group; raises what `refuse` makes."""
    place = ("datasets", name)
    if not COMPONENT.fullmatch(spec.builder):
        raise refuse(f"{shown(spec.builder)} is not {COMPONENTS}", *place, "builder")
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
    try:
        task_entry(builder.task)
        for metric in (*builder.metrics, *builder.validation_metrics):
            metric_entry(metric)
    except InputError as error:
        raise refuse(f"{spec.builder}: {error}", *place) from error
    return ResolvedDataset(spec.builder, spec.group, builder)


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
        raise refuse(f"{shown(name)} is not {COMPONENTS}", *path)
    return name, parameters or {}


def _filled(
    name: str, given: Mapping[str, Any], parameters: type[BaseModel], *path: str
) -> dict[str, Any]:
    """A part's settings with all defaults filled in; raises what `refuse` makes."""
    for key in given:
        if key not in parameters.model_fields:
            allowed = ", ".join(sorted(parameters.model_fields)) or "none"
            raise refuse(f"unknown parameter {key!r} of {name}; allowed: {allowed}", *path, key)
    try:
        with users_code(name, ValidationError, TypeError):
            return {"name": name, **filled(parameters, given)}
    except InputError as error:
        raise refuse(str(error), *path) from error
    except TypeError as error:
        raise refuse(f"{dict(given)!r}: {error}", *path) from error
    except ValidationError as error:
        details = error.errors()[0]
        shown = "" if details["type"] == "missing" else f"{details['input']!r}: "
        raise refuse(f"{shown}{details['msg']}", *path, *details["loc"]) from error


def _check_roles(name: str, specs: Mapping[str, RowSpec]) -> None:
    """Refuse a baseline or a method that is no trained row of its own."""
    spec, place = specs[name], ("rows", name)
    for key in ("baseline", "control_of"):
        other = getattr(spec, key)
        if other is None:
            continue
        rivals = [
            row
            for row, it in specs.items()
            if row != name and it.objective is not None and it.control_of is None
        ]
        if other not in rivals:
            raise refuse(f"{other!r}; allowed: {', '.join(rivals)}", *place, key)
    if spec.control_of is not None and spec.baseline is not None:
        raise refuse("a control has its method's baseline", *place, "baseline")


def _like_its_method(spec: RowSpec, method: RowSpec, objective: ObjectiveEntry) -> RowSpec:
    """A control with its method's grids, but for what its own objective does not search."""
    if {"grid", "grid_for"} & spec.model_fields_set:
        return spec
    name, _ = _component(method.objective or "", "objective")
    dropped = objective_entry(name).searched.keys() - objective.searched.keys()

    def kept(grid: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {key: values for key, values in grid.items() if key not in dropped}

    grid_for = {dataset: kept(grid) for dataset, grid in method.grid_for.items()}
    return spec.model_copy(update={"grid": kept(method.grid), "grid_for": grid_for})


def resolve_row(
    name: str,
    specs: Mapping[str, RowSpec],
    datasets: Mapping[str, ResolvedDataset],
    training: Mapping[str, Any],
) -> Row:
    """A model and objective that suit every dataset, and its grids; raises what `refuse` makes.

    specs: of all rows. training: the search space's, as written.
    """
    spec, place = specs[name], ("rows", name)
    _check_roles(name, specs)
    method = None if spec.control_of is None else specs[spec.control_of]
    if method is not None:
        given = {key: getattr(spec, key) for key in spec.model_fields_set}
        spec = RowSpec.model_construct(
            **{"model": method.model, "training": method.training, **given}
        )
    model_name, given = _component(spec.model, *place, "model")
    try:
        model = model_entry(model_name)
    except InputError as error:
        raise refuse(str(error), *place, "model") from error
    settings = _filled(model_name, given, model.parameters, *place, "model", model_name)
    for dataset in datasets.values():
        _check_model(model_name, model, dataset, *place, "model")
    if model.trivial:
        for key in ("objective", "grid", "grid_for", "training", "baseline", "control_of"):
            if key in spec.model_fields_set:
                raise refuse(f"{model_name} is not trained: it takes no {key}", *place, key)
        empty: dict[str, float] = {}
        grids = dict.fromkeys(datasets, (empty,))
        return Row(
            settings, {"name": "none"}, True, 0, {}, grids, TrainingSpec(), fingerprints(model_name)
        )
    if spec.objective is None:
        raise refuse("an objective is missing: augmented, unaugmented, …", *place)
    objective_name, given = _component(spec.objective, *place, "objective")
    try:
        objective = objective_entry(objective_name)
    except InputError as error:
        raise refuse(str(error), *place, "objective") from error
    if method is not None:
        spec = _like_its_method(spec, method, objective)
    objective_settings = _filled(
        objective_name, given, objective.parameters, *place, "objective", objective_name
    )
    for dataset in datasets.values():
        if not serves(objective.task, dataset.builder.task):
            text = f"{objective_name} is for {objective.task}, {model_name} for {model.task}"
            raise refuse(text, *place, "objective")
        if objective.check is not None:
            try:
                objective.check(objective_settings, dataset.builder.group)
            except ValueError as error:
                raise refuse(str(error), *place, "objective", objective_name) from error
    for key in spec.grid_for:
        if key not in datasets:
            known = ", ".join(datasets)
            raise refuse(f"no dataset {key!r}; there are: {known}", *place, "grid_for", key)
    searched = searchable(model, objective)
    points = {
        dataset: _points(name, spec, dataset, searched, objective.searched) for dataset in datasets
    }
    row = Row(
        settings, objective_settings, False, objective.passes, searched, points,
        _training(spec.training, training, *place, "training"),
        fingerprints(model_name, objective_name), tuple(objective.searched), objective.scores,
        (method or spec).baseline or "", spec.control_of or "",
    )  # fmt: skip
    _check_points(name, spec, row)
    if objective.needs_latent and not model.latent_maps:
        for key, resolved in datasets.items():
            order = resolved.builder.group.order
            latents = [row.model_at(point).get("latent") for point in points[key]]
            latent = next((n for n in latents if not isinstance(n, int) or n < order), order)
            if latent != order:
                raise refuse(
                    f"the latent ({latent}) is smaller than the group {resolved.group_name} of "
                    f"dataset {key} ({order} elements): allowed: latent >= {order}",
                    *place, "model",
                )  # fmt: skip
    return row


#: Of two rules for the same thing the row's own replaces the search space's.
RIVALS = ({"patience", "trend"}, {"lr_decay", "schedule"})


def _training(own: Mapping[str, Any], common: Mapping[str, Any], *place: str) -> TrainingSpec:
    """The training of one row: the search space's where it says nothing itself."""
    if "select" in own:
        raise refuse("one score selects for all rows: allowed in training only", *place, "select")
    replaced = set[str]().union(*(pair for pair in RIVALS if pair & own.keys()))
    kept = {name: value for name, value in common.items() if name not in replaced}
    try:
        return TrainingSpec.model_validate({**kept, **own})
    except ValidationError as error:
        details = error.errors()[0]
        path = tuple(part for part in details["loc"] if not str(part).startswith("function-"))
        if details["type"] == "refused":
            context = details["ctx"]
            raise refuse(context["message"], *place, *path, *context["path"]) from error
        raise refuse(f"{details['input']!r}: {details['msg']}", *place, *path) from error


def searchable(model: ModelEntry, objective: ObjectiveEntry) -> dict[str, str]:
    """What a grid may search for a row, and whose it is: in the order of a point."""
    searched = dict.fromkeys(OPTIMISER_SEARCHED, "optimiser")
    searched |= dict.fromkeys(objective.searched, "objective")
    numbers = [
        name
        for name, field in model.parameters.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, int | float)
        and field.annotation is not bool
    ]
    return searched | {name: "model" for name in numbers if name not in searched}


def check_value(row: Row, key: str, value: float) -> None:
    """Raise ValueError for what the optimiser, the objective or the model does not take."""
    try:
        if row.searched[key] == "model":
            given = {k: v for k, v in row.model.items() if k != "name"} | {key: value}
            filled(model_entry(row.model["name"]).parameters, given)
        else:
            objective = objective_entry(row.objective["name"])
            types = OPTIMISER_SEARCHED | dict(objective.searched)
            TypeAdapter(types[key]).validate_python(value, strict=True)
            if value and row.model.get(wanted := objective.wants.get(key, "")) is False:
                raise ValueError(f"{value!r}: the model has {wanted} false; allowed: 0")
    except ValidationError as error:
        raise ValueError(f"{value!r}: {error.errors()[0]['msg']}") from error


def _check_points(name: str, spec: RowSpec, row: Row) -> None:
    """Refuse a value that the optimiser, the objective or the model does not take."""
    for where, grid in (
        (("rows", name, "grid"), spec.grid),
        *((("rows", name, "grid_for", dataset), it) for dataset, it in spec.grid_for.items()),
    ):
        for key, values in grid.items():
            for n, value in enumerate(values):
                try:
                    check_value(row, key, value)
                except ValueError as error:
                    raise refuse(str(error), *where, key, n) from error


def _check_model(name: str, model: ModelEntry, dataset: ResolvedDataset, *place: str) -> None:
    """Refuse a model that cannot serve a dataset."""
    builder = dataset.builder
    if not (model.task == builder.task or (serves(model.task, builder.task) and not model.trivial)):
        message = f"{name} is for {model.task}, {dataset.builder_name} is {builder.task}"
        raise refuse(message, *place)
    if model.by_group:
        try:
            plane_group(builder.group)
        except ValueError as error:
            raise refuse(f"{name}: {error}", *place) from error
    axes = None if builder.input_shape is None else len(builder.input_shape) - 1
    if None not in (model.axes, axes) and model.axes != axes:
        message = f"{name} takes grids of {model.axes} axes, {dataset.builder_name} has {axes}"
        raise refuse(message, *place)


def _points(
    name: str,
    spec: RowSpec,
    dataset: str,
    searched: Mapping[str, str],
    required: Iterable[str],
) -> tuple[Mapping[str, float], ...]:
    values: dict[str, list[float]] = {}
    place: tuple[str, ...] = ("rows", name, "grid")
    for where, grid in (
        (place, spec.grid),
        (("rows", name, "grid_for", dataset), spec.grid_for.get(dataset, {})),
    ):
        for key, given in grid.items():
            if key not in searched:
                allowed = ", ".join(searched)
                raise refuse(f"{key!r} cannot be searched here; allowed: {allowed}", *where, key)
            values[key] = given
    for key in ("lr", *required):
        if key not in values:
            raise refuse(f"{key!r} is missing: a list of values to search", *place)
    axes = {key: values[key] for key in searched if key in values}
    if (size := math.prod(map(len, axes.values()))) > MOST_POINTS:
        raise refuse(f"a grid of {size} points; at most {MOST_POINTS}", *place)
    points = itertools.product(*axes.values())
    return tuple(dict(zip(axes, point, strict=True)) for point in points)
