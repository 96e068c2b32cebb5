"""The shape of a search space: keys, types and ranges. References are checked in config.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipeline.trial import FILE_NAME, NAME


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
                f"{name!r} is not a name: 1 to 64 letters, digits, spaces within or ( ) + . _ -",
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
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]
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
    """margin: how far from the published value a score agrees; by default the metric's own."""

    dataset: str
    split: str
    metric: str
    margin: Rate | None = None


class TrendSpec(Strict):
    """Stop after epoch `after` when the mean of the last `window` scores is no better than before.

    Before: the mean of as many epochs ahead of them.
    """

    after: Annotated[int, Field(ge=1)]
    window: Annotated[int, Field(ge=1)]


class TrainingSpec(Strict):
    """patience: epochs without a strictly better score before the training stops; or trend.

    weight_decay: Adam's. lr_decay: the learning rate's factor from epoch to epoch.
    tested: `last` tests the last epoch's weights instead of the best ones.
    """

    epochs: Annotated[int, Field(ge=1)] = 150
    batch_size: Annotated[int, Field(ge=2)] = 256
    patience: Annotated[int, Field(ge=1)] | None = 20
    select: str = "val_accuracy"
    trend: TrendSpec | None = None
    weight_decay: Rate | None = None
    lr_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    tested: Literal["best", "last"] = "best"

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

    def settings(self) -> dict[str, Any]:
        """What goes into a trial: of what came later than the run key, only what is set."""
        settings = self.model_dump(exclude_none=True)
        if self.tested == "best":
            del settings["tested"]
        return settings


class SeedsSpec(Strict):
    grid: Seeds = [0]
    final: Seeds = [0, 1, 2, 3, 4]


class ResourcesSpec(Strict):
    """Of one trial. gpu: a fraction of one; ignored where there is none."""

    cpu: Annotated[float, Field(ge=0.01, allow_inf_nan=False)] = 1
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
                raise refuse(f"{name!r} is not a profile name: letters, digits, _ and -", name)
        return profiles
