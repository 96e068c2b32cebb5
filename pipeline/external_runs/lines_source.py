"""Runs from lines: a CSV file or a data frame, a line a run, or a line a run and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equigrid.errors import InputError
from equigrid.external_runs.identity import number_or_text
from equigrid.external_runs.schema import RunsSpace
from equigrid.external_runs.source import Curves, ExternalRun, Point, Wanted

if TYPE_CHECKING:
    import pandas

#: Columns that say which run a line is of, at which step, and its state.
RUN, STEP, STATUS = "run", "step", "status"


class Lines:
    """Columns by name: of metrics a number a line, of all else the same text in each of a run's.

    Without a column `run` each line is a run; with `step` a run's lines are its curves. An empty
    cell is none.
    """

    def __init__(self, frame: pandas.DataFrame, space: RunsSpace, name: str) -> None:
        self.name = name
        self._metrics = {it.metric for it in space.columns.values()}
        if space.runs.select is not None:
            self._metrics.add(space.runs.select.metric)
        self._keys = _keys(space)
        columns = [str(column) for column in frame.columns]
        for key in (*self._keys, *self._metrics):
            # A parameter that only some runs have is a column; one that none has may be absent.
            if key not in columns and key not in space.runs.searched:
                raise InputError(f"{name}: no column {key!r}; there are: {', '.join(columns)}")
        self._runs: list[ExternalRun] = []
        self._curves: dict[tuple[str, str], list[Point]] = {}
        lines = frame.set_axis(columns, axis=1).to_dict("records")
        if STEP in columns and RUN not in columns:
            raise InputError(f"{name}: a column {STEP!r} needs a column {RUN!r} beside it")
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for number, line in enumerate(lines, 1):
            groups.setdefault(_text(line[RUN]) if RUN in columns else f"line {number}", []).append(
                line
            )
        for order, (run, group) in enumerate(groups.items()):
            self._add(run, group, order)

    def _add(self, run: str, group: Sequence[Mapping[str, Any]], order: int) -> None:
        values: dict[str, str] = {}
        for line in group:
            for key, value in line.items():
                if key in self._metrics or key == STEP or not (text := _text(value)):
                    continue
                known = values.setdefault(str(key), text)
                if known != text and key in self._keys:
                    raise InputError(
                        f"{self.name}: run {run!r} has {key} {known!r} and {text!r}; a run has one"
                    )
        metrics = {}
        for metric in self._metrics:
            points = []
            for time, line in enumerate(group):
                if (text := _text(line.get(metric, ""))) == "":
                    continue
                points.append(Point(self._step(run, line), self._number(run, metric, text), time))
            if points:
                self._curves[run, metric] = points
                metrics[metric] = max(points, key=lambda it: (it.step, it.time)).value
        status = values.get(STATUS, "FINISHED")
        self._runs.append(
            ExternalRun(run, self.name, status, order, values=values, metrics=metrics)
        )

    def _step(self, run: str, line: Mapping[str, Any]) -> int:
        if STEP not in line:
            return 0
        step = number_or_text(_text(line[STEP]))
        if isinstance(step, str) or step != int(step):
            raise InputError(f"{self.name}: run {run!r}: step {line[STEP]!r} is no whole number")
        return int(step)

    def _number(self, run: str, metric: str, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{self.name}: run {run!r}: {metric} {text!r} is no number") from None

    def described(self) -> str:
        return self.name

    def runs(self) -> Sequence[ExternalRun]:
        return self._runs

    def matching(self) -> frozenset[str] | None:
        return None

    def curves(self, wanted: Wanted) -> Curves:
        return {
            (run.id, metric): self._curves[run.id, metric]
            for run, metric in wanted
            if (run.id, metric) in self._curves
        }


def _keys(space: RunsSpace) -> list[str]:
    runs = space.runs
    parts = [*runs.row, *filter(None, (runs.dataset, runs.seed))]
    return [*(it.key for it in parts), *runs.searched, *runs.only, *runs.grid, *runs.final]


def _text(value: Any) -> str:
    """A cell as text; nothing of what pandas has for a missing one."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return str(value).strip()


def read_csv(path: Path, space: RunsSpace) -> Lines:
    """The runs of a CSV file; InputError where it cannot be read."""
    return Lines(_frame(path), space, path.name)


def _frame(path: Path) -> pandas.DataFrame:
    import pandas

    try:
        frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if frame.empty:
        raise InputError(f"{path}: has no line")
    return frame


def plain_runs(path: Path) -> list[ExternalRun]:
    """Runs of a CSV file as they are, to look at: a number may be a parameter or a metric."""
    runs: dict[str, ExternalRun] = {}
    for number, line in enumerate(_frame(path).to_dict("records"), 1):
        values = {str(key): text for key, value in line.items() if (text := _text(value))}
        run = values.pop(RUN, f"line {number}")
        values.pop(STEP, None)
        numbers = {
            key: found for key, text in values.items()
            if isinstance(found := number_or_text(text), float)
        }  # fmt: skip
        runs[run] = ExternalRun(run, status=values.get(STATUS, "FINISHED"), values=values,
                                metrics=numbers)  # fmt: skip
    return list(runs.values())
