"""The search-space schema. Every mistake is refused with file, line, key, value and remedy."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.datasets.builder import Builder
from pipeline.datasets.raw import RawStore
from pipeline.datasets.recipe import group_named, recipe_of
from pipeline.files import InputError, canonical_json
from pipeline.registry import (
    TASK_METRICS,
    dataset_builder,
    model_entry,
    objective_entry,
)
from pipeline.trial import Role, Trial
from pipeline.yaml_lines import Located, merge, parse

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ()+._-]{0,63}")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def _refuse(message: str, *path: str | int) -> PydanticCustomError:
    return PydanticCustomError("refused", "{message}", {"message": message, "path": list(path)})


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise _refuse("the same value is given twice")
    return values


def _named(entries: dict[str, Any]) -> dict[str, Any]:
    for name in entries:
        if not NAME.fullmatch(name):
            raise _refuse(
                f"{name!r} is not a name: 1 to 64 letters, digits, spaces or ( ) + . _ -", name
            )
    return entries


class Strict(BaseModel):
    """No unknown keys, no silent conversion."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise _refuse("expected a mapping of keys to values")
        names = {field.alias or name for name, field in cls.model_fields.items()}
        for key in data:
            if key not in names and cls.model_config.get("extra") != "allow":
                raise _refuse(f"unknown key {key!r}; allowed: {', '.join(sorted(names))}", key)
        return data


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Unique = AfterValidator(_unique)
Named = AfterValidator(_named)
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), Unique]
Component = str | dict[str, dict[str, Any] | None]


class Grid(Strict):
    lr: Annotated[list[Rate], Field(min_length=1), Unique] | None = None
    strengths: Annotated[list[Strength], Field(min_length=1), Unique] | None = Field(
        None, alias="lambda"
    )


class RowSpec(Strict):
    model: Component
    objective: Component | None = None
    grid: Grid = Field(default_factory=lambda: Grid.model_validate({}))
    grid_for: dict[str, Grid] = {}


class DatasetSpec(Strict):
    """Everything but builder and group goes to the builder's own Parameters."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")
    builder: str
    group: str


class ColumnSpec(Strict):
    dataset: str
    split: str
    metric: str


class TrainingSpec(Strict):
    """patience: epochs without a strictly better score before the training stops."""

    epochs: Annotated[int, Field(ge=1)] = 150
    batch_size: Annotated[int, Field(ge=2)] = 256
    patience: Annotated[int, Field(ge=1)] = 20
    select: str = "val_accuracy"


class SeedsSpec(Strict):
    grid: Seeds = [0]
    final: Seeds = [0, 1, 2, 3, 4]


class ResourcesSpec(Strict):
    """Of one trial. gpu: a fraction of one; ignored where there is none."""

    cpu: Annotated[float, Field(gt=0)] = 1
    gpu: Annotated[float, Field(ge=0, le=1)] = 0


class SearchSpace(Strict):
    title: str = ""
    notes: list[str] = []
    published: str | None = None
    datasets: Annotated[dict[str, DatasetSpec], Field(min_length=1), Named]
    columns: Annotated[dict[str, ColumnSpec], Field(min_length=1), Named]
    rows: Annotated[dict[str, RowSpec], Field(min_length=1), Named]
    training: TrainingSpec = TrainingSpec()
    seeds: SeedsSpec = SeedsSpec()
    resources: ResourcesSpec = ResourcesSpec()
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    profiles: dict[str, Any] = {}

    @field_validator("profiles")
    @classmethod
    def _profile_names(cls, profiles: dict[str, Any]) -> dict[str, Any]:
        for name in profiles:
            if not FILE_NAME.fullmatch(name):
                raise _refuse(f"{name!r} is not a profile name: letters, digits, _ and -", name)
        return profiles


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
            training={} if method.trivial else self.space.training.model_dump(),
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
        if not path.is_file():
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
            raise InputError(f"{path}:{line}: profiles.{each}: expected a mapping of overrides")
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
    shown = ".".join(map(str, known or place)) or "search space"
    if place and place != known and place[-1] not in known and _missing(message):
        shown = ".".join(map(str, (*known, place[-1])))
    return InputError(f"{path}:{located.line(known)}: {shown}: {message}")


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
    try:
        builder_class = dataset_builder(spec.builder)
    except InputError as error:
        raise _refuse(str(error), *place, "builder") from error
    try:
        group = group_named(spec.group)
    except InputError as error:
        raise _refuse(str(error), *place, "group") from error
    extra = spec.model_extra or {}
    names = builder_class.Parameters.model_fields
    for key in extra:
        if key not in names:
            allowed = ", ".join(sorted(("builder", "group", *names)))
            raise _refuse(f"unknown key {key!r}; allowed: {allowed}", *place, key)
    try:
        parameters = builder_class.Parameters.model_validate(extra, strict=True)
    except ValidationError as error:
        details = error.errors()[0]
        where = (*place, *details["loc"])
        raise _refuse(f"{details['input']!r}: {details['msg']}", *where) from error
    try:
        builder = builder_class(parameters, group)
    except ValueError as error:
        raise _refuse(str(error), *place) from error
    return Dataset(spec.builder, spec.group, builder)


def _component(spec: Component, *path: str) -> tuple[str, dict[str, Any]]:
    """`name` or `{name: {parameter: value}}`."""
    if isinstance(spec, str):
        return spec, {}
    if len(spec) != 1:
        raise _refuse("expected a name or {name: {parameter: value}}", *path)
    name, parameters = next(iter(spec.items()))
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
            raise _refuse(f"unknown parameter {key!r} of {name}; allowed: {allowed}", *path, key)
        expected = type(defaults[key])
        whole = expected is float and type(value) is int
        if type(value) is not expected and not whole:
            raise _refuse(f"{value!r}: expected {expected.__name__}", *path, key)
        if expected in (int, float) and value <= 0:
            raise _refuse(f"{value!r}: expected a positive number", *path, key)
        if key in choices and value not in choices[key]:
            allowed = ", ".join(map(str, choices[key]))
            raise _refuse(f"{value!r}: allowed: {allowed}", *path, key)
        filled[key] = float(value) if whole else value
    return filled


def _row(name: str, spec: RowSpec, datasets: Mapping[str, Dataset]) -> Row:
    place = ("rows", name)
    model_name, given = _component(spec.model, *place, "model")
    try:
        model = model_entry(model_name)
    except InputError as error:
        raise _refuse(str(error), *place, "model") from error
    settings = _filled(model_name, given, model.defaults, {}, *place, "model", model_name)
    if model.trivial:
        for key in ("objective", "grid", "grid_for"):
            if key in spec.model_fields_set:
                raise _refuse(f"{model_name} is not trained: it takes no {key}", *place, key)
        empty: dict[str, float] = {}
        return Row(settings, {"name": "none"}, True, 0, (), dict.fromkeys(datasets, (empty,)))
    if spec.objective is None:
        raise _refuse("an objective is missing: augmented, unaugmented, …", *place)
    objective_name, given = _component(spec.objective, *place, "objective")
    try:
        objective = objective_entry(objective_name)
    except InputError as error:
        raise _refuse(str(error), *place, "objective") from error
    objective_settings = _filled(
        objective_name, given, objective.defaults, objective.choices,
        *place, "objective", objective_name,
    )  # fmt: skip
    for dataset in spec.grid_for:
        if dataset not in datasets:
            known = ", ".join(datasets)
            raise _refuse(
                f"no dataset {dataset!r}; there are: {known}", *place, "grid_for", dataset
            )
    grids = {dataset: _points(name, spec, dataset, objective.searched) for dataset in datasets}
    if objective.needs_latent:
        latent = settings.get("latent")
        for dataset, resolved in datasets.items():
            order = resolved.builder.group.order
            if not isinstance(latent, int) or latent < order:
                raise _refuse(
                    f"the latent ({latent}) is smaller than the group {resolved.group_name} of "
                    f"dataset {dataset} ({order} elements): allowed: latent >= {order}",
                    *place, "model",
                )  # fmt: skip
    return Row(settings, objective_settings, False, objective.passes, objective.searched, grids)


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
                raise _refuse(f"the objective has no {key!r}; it searches: {allowed}", *where, key)
            values[key] = given
    for key in searched:
        if values.get(key) is None:
            raise _refuse(f"{key!r} is missing: a list of values to search", *place)
    axes = [values[key] or [] for key in searched]
    return tuple(dict(zip(searched, point, strict=True)) for point in itertools.product(*axes))


def _check(space: SearchSpace, rows: Mapping[str, Row], datasets: Mapping[str, Dataset]) -> None:
    """What only the whole shows: references between parts, and duplicates."""
    columns: dict[tuple[str, str, str], str] = {}
    for name, column in space.columns.items():
        place = ("columns", name)
        if column.dataset not in datasets:
            known = ", ".join(datasets)
            raise _refuse(f"no dataset {column.dataset!r}; there are: {known}", *place, "dataset")
        builder = datasets[column.dataset].builder
        if column.split not in builder.test_splits:
            known = ", ".join(builder.test_splits)
            raise _refuse(f"{column.split!r} is no test split; allowed: {known}", *place, "split")
        allowed = TASK_METRICS[builder.task]
        if column.metric not in allowed:
            raise _refuse(f"{column.metric!r}; allowed: {', '.join(allowed)}", *place, "metric")
        same = columns.setdefault((column.dataset, column.split, column.metric), name)
        if same != name:
            raise _refuse(f"the same cell as column {same!r}", *place)
    unused = set(datasets) - {column.dataset for column in space.columns.values()}
    if unused:
        raise _refuse("no column shows this dataset", "datasets", min(unused))
    methods: dict[str, str] = {}
    for name, row in rows.items():
        identity = canonical_json([dict(row.model), dict(row.objective), dict(row.grids)])
        same = methods.setdefault(identity, name)
        if same != name:
            raise _refuse(f"the same method and grid as row {same!r}", "rows", name)
    for dataset in datasets.values():
        scores = [f"val_{metric}" for metric in (*TASK_METRICS[dataset.builder.task], "loss")]
        if space.training.select not in scores:
            raise _refuse(
                f"{space.training.select!r}; allowed: {', '.join(scores)}", "training", "select"
            )
