"""A search space with `runs:`, opened: its runs, its table, and the files of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from equigrid.config.reading import located_error, mistake, read
from equigrid.errors import InputError
from equigrid.external_runs.cells import runs_csv, table_of
from equigrid.external_runs.collection import Collection, collect
from equigrid.external_runs.schema import RunsSpace
from equigrid.external_runs.source import ExternalRun, Source
from equigrid.files import write_atomically
from equigrid.planning.workspace import Workspace
from equigrid.reporting import csv_files, formats, latex
from equigrid.reporting.table import Table

if TYPE_CHECKING:
    import pandas

#: What is written of a table, beside the report.
FILES = ("table.md", "table.csv", "table.tex", "comparisons.csv", "comparisons.tex", "runs.csv")


def holds_runs(name: str) -> bool:
    """Whether a search space reads runs that are tracked already, and trains nothing."""
    _, located = read(name)
    return "runs" in located.value


class RunsTable:
    """A table of tracked runs, as the search space `name` has it.

    >>> import equigrid, pandas
    >>> frame = pandas.DataFrame({"model": ["A", "B"], "test_acc": [0.6, 0.7]})
    >>> equigrid.table(frame, row="model",
    ...                columns={"Test": {"metric": "test_acc", "higher_is_better": True}})
    <table ...>

    Reads its store when it is first asked for anything; `reread` reads it anew, past every cache.
    Raises InputError for whatever the file or the store has wrong, before anything is written.
    """

    def __init__(self, name: str, space: RunsSpace, source: Source, file: Path | None = None):
        self.name, self.space, self.source, self.file = name, space, source, file

    def __repr__(self) -> str:
        return f"<table {self.name} of {self.source.described()}>"

    def _repr_html_(self) -> str:
        """In a notebook the table is shown."""
        return str(self.table().to_html())

    @cached_property
    def collection(self) -> Collection:
        """What became of every run."""
        try:
            return collect(self.space, self.source)
        except InputError as error:
            raise InputError(f"{self.file or self.name}: {error}") from error

    @cached_property
    def assembled(self) -> Table:
        return table_of(self.collection, self.name)

    def table(self) -> pandas.DataFrame:
        """A line a cell, by row and column: what `table.csv` has."""
        return _frame(csv_files.comma_separated(self.assembled)).set_index(["row", "column"])

    def comparisons(self) -> pandas.DataFrame:
        """A line a pair of rows and column: paired differences."""
        return _frame(csv_files.comparison_csv(self.assembled))

    def runs(self) -> pandas.DataFrame:
        """A line a run: what it is of, what it scored, and what became of it."""
        return _frame(runs_csv(self.collection))

    def markdown(self) -> str:
        return formats.markdown(self.assembled)

    def latex(self) -> str:
        return latex.scores(self.assembled)

    def contents(self) -> dict[str, str]:
        """The files of the table, by name; none of paired differences where there is no pair."""
        texts = (
            self.markdown(), csv_files.comma_separated(self.assembled), self.latex(),
            csv_files.comparison_csv(self.assembled), latex.comparisons(self.assembled),
            runs_csv(self.collection),
        )  # fmt: skip
        return {name: text for name, text in zip(FILES, texts, strict=True) if text}

    def write(self, workspace: Workspace) -> Path:
        """Write the files into the workspace; one that is right stays. Returns their folder."""
        assert self.file is not None
        workspace.take_name(self.name, self.file.parent, str(self.file))
        folder, contents = workspace.tables(self.name), self.contents()
        for name in set(FILES) - contents.keys():
            (folder / name).unlink(missing_ok=True)
        for name, content in contents.items():
            path = folder / name
            if not path.exists() or path.read_text("utf-8") != content:
                write_atomically(path, content)
        return folder

    @property
    def is_complete(self) -> bool:
        return all(cell.is_whole for cell in self.assembled.cells.values())


def _frame(text: str) -> pandas.DataFrame:
    import pandas

    return pandas.read_csv(io.StringIO(text))


def open_runs(
    name: str, profile: str | None, workspace: Workspace, *, fresh: bool = False
) -> RunsTable:
    """A search space with `runs:` by its name or path. fresh: past every cache.

    Raises InputError with file, line, key and value where the file is wrong.
    """
    path, located = read(name)
    if profile is not None:
        raise InputError(f"{path}: a table of tracked runs has no profiles")
    try:
        space = RunsSpace.model_validate(located.value)
    except (ValidationError, PydanticCustomError) as error:
        raise located_error(path, located, *mistake(error)) from None
    workspace.check_name(path.stem, str(path.resolve()))
    try:
        source = _source(space, path, workspace, fresh=fresh)
    except InputError as error:
        place = ("runs", "csv" if space.runs.csv else "store")
        raise InputError(f"{path}:{located.line(place)}: runs: {error}") from error
    return RunsTable(path.stem, space, source, path.resolve())


def _source(space: RunsSpace, path: Path, workspace: Workspace, *, fresh: bool) -> Source:
    runs = space.runs
    if runs.csv is not None:
        from equigrid.external_runs.lines_source import read_csv

        return read_csv(path.parent / runs.csv, space)
    from equigrid.external_runs.mlflow_source import MlflowRuns, store_of

    if not runs.experiments:
        raise InputError("Field required: experiments (names or ids), or csv")
    uri = store_of(runs.store, path.parent, workspace.tracking_uri)
    return MlflowRuns(
        uri, runs.experiments, runs.filter, workspace.external_runs_cache, fresh=fresh
    )


def looked_at(
    names: Sequence[str], store: str | None, workspace: Workspace
) -> tuple[Sequence[ExternalRun], dict[str, object]]:
    """The runs of MLflow experiments, or of one CSV file, and how a search space names them."""
    if len(names) == 1 and names[0].endswith(".csv"):
        from equigrid.external_runs.lines_source import plain_runs

        return plain_runs(Path(names[0])), {"csv": names[0]}
    from equigrid.external_runs.mlflow_source import MlflowRuns, store_of

    uri = store_of(store, Path.cwd(), workspace.tracking_uri)
    where: dict[str, object] = {"store": store} if store is not None else {}
    found = MlflowRuns(uri, names, None, workspace.external_runs_cache).runs()
    return found, {**where, "experiments": list(names)}


#: Keys of a search space that are not of its `runs`.
_OUTSIDE = set(RunsSpace.model_fields) - {"runs"}


def table(frame: pandas.DataFrame, **settings: Any) -> RunsTable:
    """Make a table of the runs in a data frame: a line a run, or a line a run and step.

    settings: the keys of a search space with `runs:` (docs/your-runs.md), without that heading:
    row, dataset, seed, searched, select, columns, rows, seeds, published, reference, …; names of
    the frame's columns stand for keys. Raises InputError where they are wrong.

    >>> import equigrid, pandas
    >>> frame = pandas.DataFrame(
    ...     [("A", 0.1, 0, 0.7, 0.6), ("A", 0.2, 0, 0.8, 0.7), ("B", 0.1, 0, 0.9, 0.9)],
    ...     columns=["model", "lr", "seed", "val_acc", "test_acc"],
    ... )
    >>> table = equigrid.table(frame, row="model", seed="seed", searched=["lr"],
    ...                        select={"metric": "val_acc", "mode": "max"},
    ...                        columns={"Test": {"metric": "test_acc", "higher_is_better": True}})
    >>> table.table()["mean"].to_dict()
    {('A', 'Test'): 0.7, ('B', 'Test'): 0.9}
    """
    from equigrid.external_runs.lines_source import Lines

    outside: Mapping[str, Any] = {n: it for n, it in settings.items() if n in _OUTSIDE}
    inside = {n: it for n, it in settings.items() if n not in _OUTSIDE}
    for name in ("csv", "store", "experiments", "filter"):
        if name in inside:
            raise InputError(f"{name}: the runs are those of the data frame")
    try:
        space = RunsSpace.model_validate({**outside, "runs": {**inside, "csv": "data frame"}})
    except (ValidationError, PydanticCustomError) as error:
        place, message = mistake(error)
        keys = ".".join(str(it) for it in place if it != "runs")
        raise InputError(f"{keys or 'table'}: {message}") from None
    return RunsTable(space.title or "table", space, Lines(frame, space, "the data frame"))
