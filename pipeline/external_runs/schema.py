"""What a search space with `runs:` may say. Nothing is trained: runs are read and made a table."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from equigrid.config.schema import Figures, Named, Rate, Seeds, Strict, Unique, refuse

#: What a key of an MLflow run begins with, and its attributes.
KINDS = ("params", "tags", "metrics", "attributes")
ATTRIBUTES = ("run_name", "run_id", "experiment", "status", "user_id")
#: Rows that a table may have: a key with more tells runs apart, not methods.
MOST_ROWS = 200

Status = Literal["FINISHED", "FAILED", "RUNNING", "KILLED", "SCHEDULED"]
Scalar = str | int | float | bool


class KeySpec(Strict):
    """A value of a run: its key, and a pattern whose one group is the part that counts."""

    key: str
    pattern: str | None = None

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise refuse(f"{pattern!r}: {error}") from None
            if groups != 1:
                raise refuse(f"{pattern!r}: has {groups} groups; expected one, as in 'seed_(\\d+)'")
        return pattern


def _key(value: Any) -> Any:
    return {"key": value} if isinstance(value, str) else value


def _keys(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Key = Annotated[KeySpec, BeforeValidator(_key)]


def _values(value: Any) -> Any:
    if not isinstance(value, dict):
        raise refuse(f"{value!r}: expected a mapping of keys to values")
    return {key: it if isinstance(it, list) else [it] for key, it in value.items()}


#: Keys and the values of which a run has one.
Condition = Annotated[
    dict[str, Annotated[list[Scalar], Field(min_length=1)]], BeforeValidator(_values)
]


class SelectSpec(Strict):
    """The validation metric that selects; at its best step of a run's curve, or at its last."""

    metric: str
    mode: Literal["max", "min"]
    at: Literal["best", "last"] = "best"


class RunsSpec(Strict):
    """Which runs, and what says their row, dataset, seed and searched values.

    store: MLflow's address, by default MLFLOW_TRACKING_URI; or csv: a file with a line a run, or a
    line a run and step. experiments: names or ids. filter: MLflow's own. only: what a run has to
    have besides.
    grid, final: what tells runs that select from runs that are tested, where they are different
    runs. ignore, others: parameters that vary and are not searched: named, or all of them.
    rename: one name for another. missing: of searched values that a run lacks. inherit: a child has
    its parent's parameters where it has none. nested: whether children or their parents count.
    """

    store: str | None = None
    csv: str | None = None
    experiments: Annotated[list[str], Field(min_length=1), Unique] = []
    filter: str | None = None
    only: Condition = {}
    statuses: Annotated[list[Status], Field(min_length=1), Unique] = ["FINISHED"]
    row: Annotated[list[Key], Field(min_length=1), BeforeValidator(_keys)]
    dataset: Key | None = None
    seed: Key | None = None
    searched: Annotated[list[str], Unique] = []
    grid: Condition = {}
    final: Condition = {}
    select: SelectSpec | None = None
    scores_at: Literal["selected", "last"] = "selected"
    selection: Literal["on_validation", "on_test"] = "on_validation"
    incomplete: Literal["leave_out", "use"] = "leave_out"
    duplicates: Literal["refuse", "newest"] = "refuse"
    others: Literal["refuse", "ignore"] = "refuse"
    ignore: Annotated[list[str], Unique] = []
    rename: dict[str, str] = {}
    missing: dict[str, Scalar] = {}
    inherit: bool = False
    nested: Literal["children", "parents"] = "children"

    @model_validator(mode="after")
    def _one_source(self) -> RunsSpec:
        if self.csv is not None:
            for name in ("store", "filter"):
                if getattr(self, name) is not None:
                    raise refuse(f"{name} is of MLflow, csv of a file: runs come from one", name)
            if self.experiments:
                raise refuse("experiments are of MLflow, csv of a file: runs come from one",
                             "experiments")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _defaults_of_what_is_searched(self) -> RunsSpec:
        for key in self.missing:
            if key not in self.searched:
                raise refuse(f"{key!r} is not among `searched`", "missing", key)
        return self

    @model_validator(mode="after")
    def _keys_of_the_source(self) -> RunsSpec:
        if self.csv is not None:
            return self
        named: list[tuple[str, tuple[str | int, ...]]] = [
            (it.key, ("row", n, "key")) for n, it in enumerate(self.row)
        ]
        for name in ("dataset", "seed"):
            if (spec := getattr(self, name)) is not None:
                named.append((spec.key, (name, "key")))
        for name in ("searched", "ignore"):
            named += [(it, (name, n)) for n, it in enumerate(getattr(self, name))]
        for name in ("only", "grid", "final", "rename", "missing"):
            named += [(it, (name, it)) for it in getattr(self, name)]
        named += [(it, ("rename", name)) for name, it in self.rename.items()]
        for key, place in named:
            kind, _, name = key.partition(".")
            if kind not in KINDS or not name:
                text = f"{key!r}: expected params.NAME, tags.NAME, metrics.NAME or attributes.NAME"
                raise refuse(text, *place)
            if kind == "attributes" and name not in ATTRIBUTES:
                raise refuse(f"{key!r}; attributes are: {', '.join(ATTRIBUTES)}", *place)
        return self


class RowDisplay(Strict):
    """name: of a row as the table shows it. seeds: which its cells should have."""

    name: str
    seeds: Seeds | None = None


def _row(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ColumnOfRuns(Strict):
    """metric: a score that was not selected by. margin: within which a score agrees with a
    published one. decimals: as the column is shown.
    """

    metric: str
    higher_is_better: bool
    dataset: str | None = None
    margin: Rate | None = None
    decimals: Annotated[int, Field(ge=0, le=12)] | None = None


class SeedsOfRuns(Strict):
    """final: of which a cell should have a score. grid: those that select, else the final ones."""

    grid: Seeds | None = None
    final: Seeds | None = None


class RunsSpace(Strict):
    """A table of runs that are tracked already.

    rows: by value of the row's key how the table calls it; without them every value is a row.
    reference: the row that each other is compared with; without one the last row is.
    """

    title: str = ""
    notes: list[str] = []
    runs: RunsSpec
    rows: Annotated[
        dict[str, Annotated[RowDisplay, BeforeValidator(_row)]], Field(min_length=1)
    ] | None = None  # fmt: skip
    columns: Annotated[dict[str, ColumnOfRuns], Field(min_length=1), Named]
    seeds: SeedsOfRuns = SeedsOfRuns()
    published: Figures | None = None
    reference: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> RunsSpace:
        runs, select = self.runs, self.runs.select
        places: dict[tuple[str, str | None], str] = {}
        for name, column in self.columns.items():
            if runs.dataset is None and column.dataset is not None:
                raise refuse("runs have no `dataset` key to tell it by", "columns", name, "dataset")
            if runs.dataset is not None and column.dataset is None:
                raise refuse("Field required", "columns", name, "dataset")
            same = places.setdefault((column.metric, column.dataset), name)
            if same != name:
                raise refuse(f"the same cell as column {same!r}", "columns", name)
            tests = select is not None and column.metric == select.metric
            if tests and runs.selection == "on_validation":
                raise refuse(
                    f"{column.metric!r} is column {name!r}: a table that selects on what it "
                    "reports flatters; name a validation metric, or say `selection: on_test` and "
                    "every cell is marked", "runs", "select", "metric",
                )  # fmt: skip
        if select is None:
            for given in ("searched", "grid"):
                if getattr(runs, given):
                    raise refuse("needs `select`: what to choose among them by", "runs", given)
        names: dict[str, str] = {}
        for row, shown in (self.rows or {}).items():
            if names.setdefault(shown.name, row) != row:
                raise refuse(f"{shown.name!r} is the name of two rows", "rows", row)
        known = self.rows
        if known is not None and self.reference is not None and self.reference not in known:
            raise refuse(f"no row {self.reference!r}; there are: {', '.join(known)}", "reference")
        for row, cells in (self.published or {}).items():
            if known is not None and row not in known:
                raise refuse(f"no row {row!r}; there are: {', '.join(known)}", "published", row)
            for each in cells:
                if each not in self.columns:
                    raise refuse(f"no column {each!r}; there are: {', '.join(self.columns)}",
                                 "published", row, each)  # fmt: skip
        return self
