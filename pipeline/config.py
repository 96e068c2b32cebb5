"""The search-space schema. Every mistake is refused with file, line, key, value and remedy."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from pipeline.datasets.builder import Builder
from pipeline.datasets.raw import RawStore
from pipeline.datasets.recipe import group_named, recipe_of
from pipeline.files import InputError, canonical_json
from pipeline.registry import Model, dataset_builder, model_entry, objective_entry
from pipeline.schema import (
    Component,
    DatasetSpec,
    RowSpec,
    SearchSpace,
    refuse,
)
from pipeline.trial import COMPONENT, FILE_NAME, Role, Trial
from pipeline.yaml_lines import Located, merge, parse


@dataclass(frozen=True)
class Row:
    """A method. grids: hyperparameter points per dataset, in the order of the file."""

    model: Mapping[str, Any]
    objective: Mapping[str, Any]
    trivial: bool
    passes: int
    searched: tuple[str, ...]
    grids: Mapping[str, tuple[Mapping[str, float], ...]]


@dataclass(frozen=True)
class Dataset:
    builder_name: str
    group_name: str
    builder: Builder

    def recipe(self, raw: RawStore) -> dict[str, Any]:
        """Everything that determines the arrays."""
        return recipe_of(self.builder_name, self.group_name, self.builder, raw)


@dataclass(frozen=True)
class Experiment:
    """A search space with one profile applied, checked and resolved."""

    name: str
    profile: str | None
    space: SearchSpace
    rows: Mapping[str, Row]
    datasets: Mapping[str, Dataset]
    folder: Path

    @property
    def full_name(self) -> str:
        return f"{self.name}.{self.profile}" if self.profile else self.name

    @property
    def is_published_setting(self) -> bool:
        """The base settings and the profile of the published optimum count as the print's."""
        return self.profile in (None, "optimum")

    def trial(
        self,
        row: str,
        dataset: str,
        point: Mapping[str, float],
        seed: int,
        role: Role,
        recipe: Mapping[str, Any],
    ) -> Trial:
        method = self.rows[row]
        return Trial(
            experiment=self.full_name,
            row=row,
            dataset=dataset,
            role=role,
            model=method.model,
            objective=method.objective,
            data=recipe,
            hyperparameters={name: float(value) for name, value in point.items()},
            seed=0 if method.trivial else seed,
            training={} if method.trivial else self.space.training.settings(),
        )

    def seeds(self, row: str, role: Role) -> list[int]:
        """A trivial row has nothing random and nothing to search: one final."""
        if self.rows[row].trivial:
            return [0] if role == "final" else []
        return getattr(self.space.seeds, role)  # type: ignore[no-any-return]

    def cells(self) -> Iterator[tuple[str, str]]:
        """(row, column) in the order of the file."""
        return itertools.product(self.rows, self.space.columns)

    def groups(self) -> list[tuple[str, str]]:
        """(row, dataset): what is trained together and selected over."""
        return list(itertools.product(self.rows, self.datasets))


def find(name: str) -> Path:
    """A path (it has a separator or a suffix), else ./search_spaces/, else a packaged one."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            there = path.is_file()
        except OSError:  # a name that is too long
            there = False
        if not there:
            raise InputError(f"{name}: no such file")
        return path
    if not FILE_NAME.fullmatch(name):
        raise InputError(f"{name!r} is not a search space's name: letters, digits, _ and -")
    local = Path("search_spaces") / f"{name}.yaml"
    packaged = Path(str(resources.files("search_spaces"))) / f"{name}.yaml"
    for path in (local, packaged):
        if path.is_file():
            return path
    known = sorted({path.stem for path in (*Path("search_spaces").glob("*.yaml"),
                                           *packaged.parent.glob("*.yaml"))})  # fmt: skip
    raise InputError(f"no search space {name!r}; there are: {', '.join(known)}, or give a path")


def load_experiment(name: str, profile: str | None = None) -> Experiment:
    """Read, check (every profile, not only the chosen one) and resolve a search space."""
    path = find(name)
    if not FILE_NAME.fullmatch(path.stem):
        raise InputError(f"{path}: the file's name may hold letters, digits, _ and - only")
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # where `module:object` is looked up
    located = parse(text, str(path))
    profiles = located.value.get("profiles", {})
    resolved = {None: _resolve(path, None, located)}
    if profiles and not isinstance(profiles, dict):
        raise InputError(f"{path}:{located.line(('profiles',))}: profiles: expected a mapping")
    for each in profiles:
        override = located.at("profiles", each)
        if not isinstance(override.value, dict):
            line = located.line(("profiles", each))
            raise InputError(
                f"{path}:{line}: profiles.{each}: {override.value!r}: expected a mapping"
            )
        resolved[each] = _resolve(path, each, merge(located, override))
    if profile not in resolved:
        known = ", ".join(profiles) or "none"
        raise InputError(f"{path}: no profile {profile!r}; it has: {known}")
    return resolved[profile]


def _resolve(path: Path, profile: str | None, located: Located) -> Experiment:
    try:
        space = SearchSpace.model_validate(located.value)
        datasets = {name: _dataset(name, spec) for name, spec in space.datasets.items()}
        rows = {name: _row(name, spec, datasets) for name, spec in space.rows.items()}
        _check(space, rows, datasets)
    except ValidationError as error:
        details = error.errors()[0]
        context = details.get("ctx", {})
        place = tuple(p for p in details["loc"] if not str(p).startswith(("function-", "list[")))
        if details["type"] == "refused":
            raise _located_error(
                path, located, (*place, *context["path"]), context["message"]
            ) from None
        value = details["input"]
        shown = "" if details["type"] == "missing" else f" {value!r}:"
        raise _located_error(
            path, located, place, f"{shown.strip()} {details['msg']}".strip()
        ) from None
    except PydanticCustomError as error:
        context = error.context or {}
        raise _located_error(path, located, tuple(context["path"]), context["message"]) from None
    return Experiment(path.stem, profile, space, rows, datasets, path.resolve().parent)


def _located_error(
    path: Path, located: Located, place: tuple[str | int, ...], message: str
) -> InputError:
    # pydantic puts the names of union members into the place; the file has only real keys.
    known = tuple(part for n, part in enumerate(place) if _exists(located.value, place[:n], part))
    shown = ".".join(map(_shown, known or place)) or "search space"
    if place and place != known and place[-1] not in known and _missing(message):
        shown = ".".join(map(_shown, (*known, place[-1])))
    return InputError(f"{path}:{located.line(known)}: {shown}: {message}")


def _shown(part: str | int) -> str:
    """A key on one line: what is not printable is written as an escape."""
    return str(part) if str(part).isprintable() else repr(part)


def _missing(message: str) -> bool:
    return message.startswith("Field required")


def _exists(value: Any, parents: tuple[str | int, ...], part: str | int) -> bool:
    for parent in (*parents, part):
        try:
            value = value[parent]
        except (KeyError, IndexError, TypeError):
            if parent == part:
                return False
    return True


def _dataset(name: str, spec: DatasetSpec) -> Dataset:
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
        parameters = builder_class.Parameters.model_validate(extra, strict=True)
    except ValidationError as error:
        details = error.errors()[0]
        where = (*place, *details["loc"])
        if details["type"] == "extra_forbidden":
            allowed = ", ".join(sorted(_keys_at(builder_class.Parameters, details["loc"][:-1])))
            raise refuse(f"unknown key {where[-1]!r}; allowed: {allowed}", *where) from error
        raise refuse(f"{details['input']!r}: {details['msg']}", *where) from error
    try:
        builder = builder_class(parameters, group)
    except ValueError as error:
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
        if expected in (int, float) and value <= 0:
            raise refuse(f"{value!r}: expected a positive number", *path, key)
        if key in choices and value not in choices[key]:
            allowed = ", ".join(map(str, choices[key]))
            raise refuse(f"{value!r}: allowed: {allowed}", *path, key)
        filled[key] = float(value) if whole else value
    return filled


def _row(name: str, spec: RowSpec, datasets: Mapping[str, Dataset]) -> Row:
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
        return Row(settings, {"name": "none"}, True, 0, (), dict.fromkeys(datasets, (empty,)))
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
    grids = {dataset: _points(name, spec, dataset, objective.searched) for dataset in datasets}
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
    return Row(settings, objective_settings, False, objective.passes, objective.searched, grids)


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
    return tuple(dict(zip(searched, point, strict=True)) for point in itertools.product(*axes))


def _check(space: SearchSpace, rows: Mapping[str, Row], datasets: Mapping[str, Dataset]) -> None:
    """What only the whole shows: references between parts, and duplicates."""
    columns: dict[tuple[str, str, str], str] = {}
    for name, column in space.columns.items():
        place = ("columns", name)
        if column.dataset not in datasets:
            known = ", ".join(datasets)
            raise refuse(f"no dataset {column.dataset!r}; there are: {known}", *place, "dataset")
        builder = datasets[column.dataset].builder
        if column.split not in builder.test_splits:
            known = ", ".join(builder.test_splits)
            raise refuse(f"{column.split!r} is no test split; allowed: {known}", *place, "split")
        if column.metric not in builder.metrics:
            allowed = ", ".join(builder.metrics)
            raise refuse(f"{column.metric!r}; allowed: {allowed}", *place, "metric")
        same = columns.setdefault((column.dataset, column.split, column.metric), name)
        if same != name:
            raise refuse(f"the same cell as column {same!r}", *place)
    unused = set(datasets) - {column.dataset for column in space.columns.values()}
    if unused:
        raise refuse("no column shows this dataset", "datasets", min(unused))
    methods: dict[str, str] = {}
    for name, row in rows.items():
        identity = canonical_json([dict(row.model), dict(row.objective), dict(row.grids)])
        same = methods.setdefault(identity, name)
        if same != name:
            raise refuse(f"the same method and grid as row {same!r}", "rows", name)
    for dataset in datasets.values():
        scores = [f"val_{metric}" for metric in (*dataset.builder.validation_metrics, "loss")]
        if space.training.select not in scores:
            raise refuse(
                f"{space.training.select!r}; allowed: {', '.join(scores)}", "training", "select"
            )
