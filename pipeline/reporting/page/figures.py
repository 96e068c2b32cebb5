"""The figures of a report, from a plan's results and records."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from equigrid.errors import DamagedFileError, InputError
from equigrid.lookup import load, model_entry, objective_entry
from equigrid.metrics.direction import higher_is_better
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.user_errors import users_code
from equigrid.planning.open_run import KeptRun, open_dataset
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, Result
from equigrid.registry import AUTOREGRESSION
from equigrid.reporting.page import captions, charts
from equigrid.reporting.page.charts import GridPoint, State
from equigrid.reporting.page.gallery import Gallery, section
from equigrid.reporting.page.page import Chart, Section
from equigrid.reporting.table import Table
from equigrid.reporting.words import spoken
from equigrid.trial import Trial

if TYPE_CHECKING:
    from equigrid.datasets.resident import Dataset

ERROR = "val_equivariance_error"
#: Of an autoregression's test scores: each frame's own.
FRAME = "rmse_frame_"


class Figures(Gallery):
    """Draws what a plan has, and says what it has not.

    records: by run key, those at hand.
    """

    def __init__(
        self, plan: Plan, table: Table, records: Mapping[str, Record], workspace: Workspace
    ) -> None:
        self.plan, self.table, self.records, self.workspace = plan, table, records, workspace
        self.select = plan.experiment.space.training.select
        self.trained = [row for row in table.rows if row not in table.trivial_rows]
        super().__init__()
        self._datasets: dict[str, Dataset | str] = {}

    def heat_map(self, arm: Arm) -> Chart | None:
        """None where there is nothing to compare: no grid, or one of a single point."""
        points = list(grid_points(self.plan, arm))
        if len(points) < 2:
            return None
        better = bool(higher_is_better(self.select))
        figure = charts.heat_map(points, self.select, higher_is_better=better)
        caption = "Mean over the grid's seeds; brighter is better"
        if any(point.selected for point in points):
            caption += f"; {charts.SELECTED} selected"
        description = captions.heat_map(points, self.select)
        return self.chart(figure, "", f"{caption}.", description, "heat map", *arm)

    def curves(self) -> Section:
        """A dataset each: the finals' validation score by epoch."""
        return section(self.plan.experiment.datasets, self._curves)

    def score_by_error(self) -> Section:
        return section(self.table.columns, self._score_by_error)

    def score_by_parameters(self) -> Section:
        return section(self.table.columns, self._score_by_parameters)

    def orbits(self) -> Section:
        """A dataset each: a few training inputs under a few group elements."""
        return section(self.plan.experiment.datasets, self._orbits)

    def rollouts(self) -> Section:
        """Of autoregressions: errors by frame and a window continued, a test split each."""
        splits: dict[str, tuple[str, str]] = {}
        for name, column in self.plan.experiment.space.columns.items():
            builder = self.plan.experiment.datasets[column.dataset].builder
            if builder.task == AUTOREGRESSION and (column.dataset, column.split) not in (
                splits.values()
            ):
                splits[name] = (column.dataset, column.split)
        errors = section(splits, lambda name: self._frame_errors(name, *splits[name]))
        windows = section(splits, lambda name: self._continued(name, *splits[name]))
        return Section(errors.charts + windows.charts, errors.missing + windows.missing)

    def of_parts(self) -> Iterator[tuple[str, Section]]:
        """Titles and drawings of objectives and models with `drawings(runs)`: of rows' finals."""
        rows: dict[tuple[str, str], list[str]] = {}
        for row in self.trained:
            method = self.plan.experiment.rows[row]
            for kind, settings in (("objective", method.objective), ("model", method.model)):
                rows.setdefault((kind, settings["name"]), []).append(row)
        found: dict[str, list[Section]] = {}
        for (kind, name), named in rows.items():
            entry = objective_entry(name) if kind == "objective" else model_entry(name)
            if not is_external(name) and not entry.draws:
                continue  # most have none, and importing them takes torch
            part = load(entry.target)
            if hasattr(part, "drawings"):
                title = getattr(part, "title", name.rpartition(":")[2])
                drawn = section(named, partial(self._drawn, part, name))
                found.setdefault(title, []).append(drawn)
        for title, parts in found.items():
            yield (
                title,
                Section(
                    tuple(chart for part in parts for chart in part.charts),
                    tuple(text for part in parts for text in part.missing),
                ),
            )

    def _drawn(self, part: Any, name: str, row: str) -> list[Chart] | str:
        finals = [t for (of, _), trials in self.plan.finals.items() if of == row for t in trials]
        records = [self.records[trial.key] for trial in finals if trial.key in self.records]
        if not records:
            return "no record of a final is in this workspace"
        try:
            with users_code(name):
                runs = [KeptRun(record, self.workspace) for record in records]
                found = list(part.drawings(runs))
            return [
                self._image(drawn, f"{row}: {heading}", caption)
                if isinstance(drawn, bytes)
                else self.chart(drawn, f"{row}: {heading}", caption, caption, "objective", row)
                for heading, drawn, caption in found
            ]
        except InputError as error:
            return f"not drawn: {error}"

    def _frame_errors(self, name: str, dataset: str, split: str) -> Chart | str:
        histories: dict[str, list[list[float]]] = {}
        for row in self.table.rows:
            for trial in self.plan.finals.get((row, dataset), ()):
                result = self.plan.results.get(trial.key)
                scores = (result.test or {}).get(split, {}) if result else {}
                frames = sorted(it for it in scores if it.startswith(FRAME))
                if frames:
                    histories.setdefault(row, []).append([scores[frame] for frame in frames])
        if not histories:
            return "no finished final was tested frame by frame"
        # The trained ones first, as in every other figure: the same row looks the same.
        rows = [*self.trained, *(row for row in self.table.rows if row not in self.trained)]
        figure = charts.curves(rows, histories, "test RMSE", "frame")
        caption = "Each frame's own error over the roll-out: mean over the seeds, and the extremes."
        description = captions.curves(histories, "test RMSE", "frame")
        heading = f"{name}: error by frame"
        return self.chart(figure, heading, caption, description, "frames", name)

    def _continued(self, name: str, dataset: str, split: str) -> Chart | str:
        """The middle window of a split as it went on, and as each row's first seed predicts."""
        # torch takes a second to import, and is needed for pictures alone.
        import torch

        from equigrid.training.evaluation import predict
        from equigrid.training.model import trained_model

        opened = self._opened(dataset)
        if isinstance(opened, str):
            return opened
        shown: dict[str, Any] = {}
        for row in self.table.rows:
            trials = self.plan.finals.get((row, dataset), ())
            trial = next((it for it in trials if self.plan.is_finished(it)), None)
            if trial is None:
                continue
            weights, middle = self.workspace.weights_file(trial.key), opened.size(split) // 2
            try:
                with users_code(trial.model["name"], OSError, ValueError):
                    model = trained_model(trial, opened, weights, "cpu")
                    truth, found = predict(model, opened, split, torch.tensor([middle]))
            except FileNotFoundError:
                continue  # a record from elsewhere, without its weights
            except (OSError, ValueError) as error:
                return f"not continued: {error}"
            except InputError as error:
                return f"not continued: {error}"
            shown |= {"truth": truth[0], row: found[0]}
        if not shown:
            return "no weights of a final are in this workspace"
        last = len(shown["truth"])
        frames = sorted({1, *(round(n * last / 5) for n in range(1, 6))} - {0})
        at = torch.tensor(frames) - 1
        try:
            with users_code(self._builder(dataset)):
                pictures = [opened.pictures(it[at], like=shown["truth"]) for it in shown.values()]
        except InputError as error:
            return f"its fields are not shown: {error}"
        if any(picture is None for picture in pictures):
            return "its fields have no picture"
        images = torch.stack([picture for picture in pictures if picture is not None]).numpy()
        figure = charts.pictures(images, list(shown), list(map(str, frames)))
        caption = (
            f"Frames of the middle window of {split}, as it went on and as each method's first "
            "seed continues it; white is the truth's fastest."
        )
        description = captions.rollout(list(shown), frames)
        return self.chart(figure, f"{name}: a window", caption, description, "rollout", name)

    def _curves(self, dataset: str) -> Chart | str:
        histories: dict[str, list[list[float]]] = {}
        for row in self.trained:
            trials = self.plan.finals.get((row, dataset), ())
            known = [self.records[t.key] for t in trials if t.key in self.records]
            if scores := [[epoch[self.select] for epoch in it.history] for it in known]:
                histories[row] = scores
        if not histories:
            return "no record of a final is in this workspace"
        figure = charts.curves(self.trained, histories, self.select)
        caption = "Finals: mean over the seeds still training, and the band between the extremes."
        description = captions.curves(histories, self.select)
        return self.chart(figure, dataset, caption, description, "curves", dataset)

    def _score_by_error(self, column: str) -> Chart | str:
        points: dict[str, list[tuple[float, float]]] = {}
        clipped = 0
        for row in self.trained:
            cell = self.table.cells[row, column]
            for trial in self.plan.finals.get((row, cell.dataset), ()):
                if not self.plan.is_finished(trial):
                    continue
                result = self.plan.results[trial.key]
                error, score = result.validation.get(ERROR), result.score(cell.split, cell.metric)
                if error is None or score is None:
                    continue
                clipped += error < charts.LEAST_ERROR
                points.setdefault(row, []).append((error, score))
        if not points:
            return "no finished final with a relative equivariance error"
        name = self._test_score(column)
        caption = f"One point a method and seed; {self._direction(column)}."
        if clipped:
            caption += f" {clipped} with an error below {charts.LEAST_ERROR:g} are drawn there."
        figure = charts.score_by_error(self.trained, points, name)
        description = captions.score_by_error(points, name)
        return self.chart(figure, column, caption, description, "equivariance", column)

    def _score_by_parameters(self, column: str) -> Chart | str:
        points: dict[str, tuple[int, float, float]] = {}
        for row in self.trained:
            cell = self.table.cells[row, column]
            if cell.is_whole and cell.parameters is not None and cell.mean is not None:
                points[row] = (cell.parameters, cell.mean, cell.std or 0.0)
        if not points:
            return "no cell of a trained method is whole"
        if len({count for count, _, _ in points.values()}) == 1:
            return "all methods with a whole cell have the same number of parameters"
        score = self._test_score(column)
        figure = charts.score_by_parameters(self.trained, points, score)
        caption = f"Whole cells: mean and population standard deviation; {self._direction(column)}."
        description = captions.score_by_parameters(points, score)
        return self.chart(figure, column, caption, description, "parameters", column)

    def _orbits(self, dataset: str) -> Chart | str:
        # torch takes a second to import, and is needed here alone.
        from equigrid.datasets.pictures import orbits

        opened = self._opened(dataset)
        if isinstance(opened, str):
            return opened
        try:
            with users_code(self._builder(dataset)):
                shown = orbits(opened)
        except InputError as error:
            return f"its inputs are not shown: {error}"
        if shown is None:
            return "its inputs have no picture"
        order = opened.group.order
        count = len(shown.elements)
        of = f"all {order}" if count == order else f"{count} of the {order}"
        caption = (
            f"Training inputs under {of} elements of {opened.group.name}, written in its "
            "generators a, b, …; e leaves an input where it is."
        )
        if len(opened.input_shape) > 3:
            caption += " Of each volume the middle slice along its first axis."
        figure = charts.pictures(shown.images, shown.labels, shown.elements)
        description = captions.orbits(shown.labels, shown.elements)
        return self.chart(figure, dataset, caption, description, "orbits", dataset)

    def _opened(self, dataset: str) -> Dataset | str:
        """The data of the runs, or why they cannot be shown."""
        if dataset not in self._datasets:
            self._datasets[dataset] = self._open(dataset)
        return self._datasets[dataset]

    def _open(self, dataset: str) -> Dataset | str:
        trial = next((it for it in self.plan.all_trials() if it.dataset == dataset), None)
        if trial is None:
            return self.plan.why_not(dataset) or "no trial is planned"
        data, cache = self.workspace.data_file(trial.data), self.workspace.cache_file(trial.data)
        if not data.exists() or not cache.exists():
            return "the data files are not in this workspace"
        trained_on = {result.data_sha256 for result in self._results(dataset)}
        # The cache may be large: what the runs were trained on need not be hashed again.
        cached = next(iter(trained_on)) if len(trained_on) == 1 else None
        try:
            return open_dataset(self.workspace, trial.data, cache_sha256=cached)
        except (DamagedFileError, InputError) as error:
            return f"the data are not shown: {error}"

    def _builder(self, dataset: str) -> str:
        return self.plan.experiment.datasets[dataset].builder_name

    def _results(self, dataset: str) -> Iterator[Result]:
        for trial in self.plan.all_trials():
            if trial.dataset == dataset and trial.key in self.plan.results:
                yield self.plan.results[trial.key]

    def _test_score(self, column: str) -> str:
        return f"test {spoken(self.plan.experiment.space.columns[column].metric)}"

    def _direction(self, column: str) -> str:
        better = self.table.higher_is_better[column]
        if better is None:
            return "neither is better"
        return "higher is better" if better else "lower is better"

    def _image(self, data: bytes, heading: str, caption: str) -> Chart:
        """A PNG or GIF as it is."""
        kind = "gif" if data.startswith(b"GIF8") else "png"
        text = base64.b64encode(data).decode()
        said = html.escape(f"{heading}. {caption}")
        element = f'<img src="data:image/{kind};base64,{text}" alt="{said}">'
        return Chart("", heading, caption, element)


def grid_points(plan: Plan, arm: Arm) -> Iterator[GridPoint]:
    """The points of a grid in the order of the file; none of a trivial row's."""
    by_point: dict[tuple[tuple[str, float], ...], list[Trial]] = {}
    for trial in plan.grid.get(arm, ()):
        by_point.setdefault(tuple(trial.hyperparameters.items()), []).append(trial)
    chosen = plan.selections.get(arm)
    for point, trials in by_point.items():
        score, state = None, state_of(plan, trials)
        if state == "finished":
            name = plan.experiment.space.training.select
            score = fmean(plan.results[trial.key].validation[name] for trial in trials)
        selected = chosen is not None and dict(chosen.point) == dict(point)
        yield GridPoint(dict(point), score, state, selected)


def state_of(plan: Plan, trials: Iterable[Trial]) -> State:
    """Of trials together: failed where one of them is, else missing where one is."""
    if any(plan.is_failed(trial) for trial in trials):
        return "failed"
    return "finished" if all(plan.is_finished(trial) for trial in trials) else "missing"
