"""The shape of a search space: keys, types and ranges. References are checked in experiment.py."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from equigrid.errors import InputError
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.installed import part_named
from equigrid.parameters import Later, NonNegative, filled, without_later
from equigrid.registry import DATASETS, METRICS, MODELS, OBJECTIVES, OPTIMISERS, SCHEDULES
from equigrid.trial import FILE_NAME, FILE_NAMES, NAME, shown


def refuse(message: str, *path: str | int) -> PydanticCustomError:
    """What a mistake is raised as; `path` leads to the key, below where it is raised."""
    return PydanticCustomError("refused", "{message}", {"message": message, "path": list(path)})


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        twice = next(value for n, value in enumerate(values) if value in values[:n])
        raise refuse(f"{twice!r} is given twice")
    return values


def _named(entries: dict[str, Any]) -> dict[str, Any]:
    for name in entries:
        if not NAME.fullmatch(name):
            raise refuse(
                f"{shown(name)} is not a name: 1 to 64 letters, digits, spaces within or "
                "( ) + . _ -",
                name,
            )
    return entries


class Strict(BaseModel):
    """No unknown keys, no silent conversion."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise refuse(f"{data!r}: expected a mapping of keys to values")
        names = {field.alias or name for name, field in cls.model_fields.items()}
        for key in data:
            if key not in names and cls.model_config.get("extra") != "allow":
                raise refuse(f"unknown key {key!r}; allowed: {', '.join(sorted(names))}", key)
        return data


Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Unique = AfterValidator(_unique)
Named = AfterValidator(_named)
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1), Unique]


def _component_shape(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise refuse(f"{value!r}: expected a name or {{name: {{parameter: value}}}}")
    name, parameters = next(iter(value.items()))
    if not isinstance(parameters, dict | None):
        raise refuse(f"{parameters!r}: expected a mapping of parameters", name)
    return value


Component = Annotated[Any, AfterValidator(_component_shape)]


def _in_full(kind: str, packaged: Mapping[str, Any]) -> AfterValidator:
    """Of a part that an installed package offers by a plain name, `module:object`."""

    def replaced(value: Any) -> Any:
        name = value if isinstance(value, str) else next(iter(value), "")
        if not name or is_external(name) or name in packaged:
            return value
        try:
            full = part_named(kind, name)
        except InputError as error:
            raise refuse(str(error)) from error
        return full if isinstance(value, str) else {full: value[name]}

    return AfterValidator(replaced)


ModelName = Annotated[Component, _in_full("models", MODELS)]
ObjectiveName = Annotated[Component, _in_full("objectives", OBJECTIVES)]
BuilderName = Annotated[str, _in_full("datasets", DATASETS)]
MetricName = Annotated[str, _in_full("metrics", METRICS)]


def _resolved(kind: str, value: Any, known: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """A named part with its parameters filled in: `{name: …, parameter: …}`."""
    if isinstance(value, str):
        value = {value: {}}
    name, given = next(iter(value.items()))
    if name not in known:
        raise refuse(f"unknown {kind} {name!r}; allowed: {', '.join(sorted(known))}")
    try:
        return {"name": name, **filled(known[name], given or {})}
    except TypeError as error:
        raise refuse(f"{given!r}: {error}", name) from error
    except ValidationError as error:
        details = error.errors()[0]
        raise refuse(f"{details['input']!r}: {details['msg']}", name, *details["loc"]) from error


def _optimiser(value: Any) -> dict[str, Any]:
    return _resolved("optimizer", value, {name: it.parameters for name, it in OPTIMISERS.items()})


def _schedule(value: Any) -> dict[str, Any]:
    return _resolved("schedule", value, SCHEDULES)


def _number(value: Any) -> int | float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise refuse(f"{value!r}: expected a finite number")
    return value  # type: ignore[no-any-return]


def _mapping(value: Any) -> Any:
    if not isinstance(value, dict):
        raise refuse(f"{value!r}: expected a mapping of names to values")
    return value


Number = Annotated[Any, AfterValidator(_number)]
#: Values to search, by hyperparameter; which there are depends on the row.
Grid = Annotated[
    dict[str, Annotated[list[Number], Field(min_length=1), Unique]], BeforeValidator(_mapping)
]


class RowSpec(Strict):
    """model, objective: a part's name, or `{name: {setting: value}}`. grid: a list of values for
    each thing searched: `lr`, what the objective searches, `weight_decay`, numbers of the model.
    grid_for: another grid for a dataset, `{dataset: {lr: […]}}`.

    training: what is otherwise for this row than in the search space's `training`.

    baseline: the row that this method is to improve on. control_of: the method that this row is a
    control of; it has the method's model, grid and training where it says nothing itself.
    """

    model: ModelName = ""
    objective: ObjectiveName | None = None
    grid: Grid = {}
    grid_for: dict[str, Grid] = {}
    training: Annotated[dict[str, Any], BeforeValidator(_mapping)] = {}
    baseline: str | None = None
    control_of: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _has_model(cls, data: Any) -> Any:
        if isinstance(data, dict) and not {"model", "control_of"} & data.keys():
            raise refuse("Field required", "model")
        return data


class DatasetSpec(Strict):
    """Everything but builder and group goes to the builder's own Parameters."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")
    builder: BuilderName
    group: str = "C1"


class ColumnSpec(Strict):
    """dataset: one of `datasets`. split: one of its test splits. metric: one that its builder
    measures, a further one, or `module:object`.

    margin: how far from the published value a score agrees; by default the metric's own.
    """

    dataset: str
    split: str
    metric: MetricName
    margin: Rate | None = None


class TrendSpec(Strict):
    """Stop after epoch `after` when the mean of the last `window` scores is no better than before.

    Before: the mean of as many epochs ahead of them.
    """

    after: Annotated[int, Field(ge=1)]
    window: Annotated[int, Field(ge=1)]


class TrainingSpec(Strict):
    """epochs: at most. batch_size: samples a step. select: the validation score that stops a
    training, keeps its weights and selects among a grid.

    patience: epochs without a strictly better score before the training stops; or trend: stop when
    the mean of `window` scores is no better than that of the ones before, after epoch `after`.

    min_delta: by how much a score has to be better to count for patience; the best weights are
    those of the best score all the same.
    optimizer: a name, or `{name: {parameter: value}}`. weight_decay: the optimiser's;
    none is 0, of adamw too.
    lr_decay: the learning rate's factor from epoch to epoch; schedule: another course of it.
    tested: `last` tests the last epoch's weights instead of the best ones.
    precision: `bf16` trains with convolutions and matrix products of 8 significant bits; weights,
    losses and every score stay in single precision.
    """

    epochs: Annotated[int, Field(ge=1)] = 150
    batch_size: Annotated[int, Field(ge=2)] = 256
    patience: Annotated[int, Field(ge=1)] | None = 20
    select: str = "val_accuracy"
    trend: TrendSpec | None = None
    weight_decay: Rate | None = None
    lr_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    min_delta: Annotated[NonNegative, Later()] = 0.0
    tested: Annotated[Literal["best", "last"], Later()] = "best"
    precision: Annotated[Literal["fp32", "bf16"], Later()] = "fp32"
    optimizer: Annotated[Component, AfterValidator(_optimiser), Later()] = {"name": "adam"}
    schedule: Annotated[Component, AfterValidator(_schedule), Later()] = {"name": "constant"}

    @model_validator(mode="before")
    @classmethod
    def _one_rule(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("trend") is not None:
            if data.get("patience") is not None:
                raise refuse("patience and trend: a training stops by one of them", "trend")
            return {**data, "patience": None}
        if isinstance(data, dict) and "patience" in data and data["patience"] is None:
            raise refuse("None: expected a number of epochs, or a trend", "patience")
        return data

    @model_validator(mode="after")
    def _one_course(self) -> TrainingSpec:
        if self.lr_decay is not None and self.schedule["name"] != "constant":
            raise refuse("lr_decay and schedule: the learning rate takes one course", "schedule")
        return self

    def settings(self) -> dict[str, Any]:
        """What goes into a trial: of what came later than the run key, only what is set."""
        return without_later(self, self.model_dump(exclude_none=True))


class SeedsSpec(Strict):
    grid: Seeds = [0]
    final: Seeds = [0, 1, 2, 3, 4]


class ResourcesSpec(Strict):
    """Of one trial. gpu: a fraction of one; ignored where there is none."""

    cpu: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = 1
    gpu: Annotated[float, Field(ge=0, le=1)] = 0


class TableSpec(Strict):
    """How the table shows its numbers; no run key has any of it.

    digits: after the point; a score that may be tiny has one more, counted from its first.
    percent: accuracies and other shares times 100, their point moved by two digits.
    deviation: what stands behind a mean, of the seeds as a population or as a sample.
    """

    digits: Annotated[int, Field(ge=1, le=9)] = 3
    percent: bool = False
    deviation: Literal["population", "sample"] = "population"

    @model_validator(mode="after")
    def _digits_left(self) -> TableSpec:
        if self.percent and self.digits < 2:
            raise refuse(f"{self.digits}: per cent move the point by two digits; at least 2",
                         "digits")  # fmt: skip
        return self


def _figure(value: Any) -> list[str]:
    """Mean, standard deviation and number of seeds, as far as given, as they are written."""
    parts = value if isinstance(value, list) else [value]
    texts = [str(part) for part in parts if type(part) in (int, float, str)]
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    sound = 1 <= len(numbers) <= 3 and len(numbers) == len(parts)
    sound = sound and all(map(math.isfinite, numbers)) and all(it >= 0 for it in numbers[1:])
    sound = sound and (len(numbers) < 3 or (numbers[2] >= 1 and texts[2].isdigit()))
    # "e" in a figure would leave no digits to round by.
    if not sound or any("e" in text.lower() or "_" in text for text in texts):
        raise refuse(f"{value!r}: expected a figure, or [mean, standard deviation, seeds]")
    return texts


#: By row and column: 0.94, or "0.940" to keep its digits, or [mean, standard deviation, seeds].
Figures = Annotated[
    dict[str, Annotated[dict[str, Annotated[Any, AfterValidator(_figure)]],
                        BeforeValidator(_mapping)]], BeforeValidator(_mapping)
]  # fmt: skip


def known_places(
    figures: Mapping[str, Mapping[str, Any]], rows: Collection[str], columns: Collection[str]
) -> None:
    """Refuse published figures of a row or column that there is not."""
    for row, cells in figures.items():
        if row not in rows:
            raise refuse(f"no row {row!r}; there are: {', '.join(rows)}", "published", row)
        for column in cells:
            if column not in columns:
                text = f"no column {column!r}; there are: {', '.join(columns)}"
                raise refuse(text, "published", row, column)


def _published(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    try:
        return TypeAdapter(Figures).validate_python(value, strict=True)
    except ValidationError as error:
        details = error.errors()[0]
        path = [it for it in details["loc"] if not str(it).startswith("function-")]
        context = details.get("ctx", {})
        raise refuse(context.get("message", f"{details['input']!r}: {details['msg']}"), *path,
                     *context.get("path", ())) from error  # fmt: skip


class SearchSpace(Strict):
    """title, notes: above and below the table. layout: `cells`; `runs`, a line for each run above
    its row's mean; `datasets`, a table for each dataset. seeds: of the grid, which select, and of
    the finals, which are tested. resources: of one trial. retries: how often a trial is tried again
    whose process ended. profiles: name → overrides of all this.

    published: a table of the paper's by its name, or figures of one's own by row and column.

    reference: the row that each other is compared with; without one the last method with a
    baseline is, else the last method.

    table: how it shows its numbers.

    verdicts: whether scores may be tested against the published ones, on data like theirs."""

    title: str = ""
    notes: list[str] = []
    published: Annotated[Any, BeforeValidator(_published)] = None
    reference: str | None = None
    verdicts: bool = True
    layout: Literal["cells", "runs", "datasets"] = "cells"
    table: TableSpec = TableSpec()
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
                raise refuse(f"{shown(name)} is not a profile name: {FILE_NAMES}", name)
        return profiles
