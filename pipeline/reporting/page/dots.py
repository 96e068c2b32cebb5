"""Dot plots of a table: the seeds of each row, and paired differences as a forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from equigrid.reporting.page import captions
from equigrid.reporting.page.charts import COLOURS, FAINT, INK, WIDTH, empty_figure, styled
from equigrid.reporting.page.gallery import Gallery, section
from equigrid.reporting.page.page import Chart, Section
from equigrid.reporting.table import Table
from equigrid.reporting.words import spoken

#: Inches of a line.
LINE = 0.26


def seeds(scores: Mapping[str, Sequence[float]], score: str) -> Figure:
    """A line a row, from the top: a dot for each seed, and a bar at their mean."""
    with styled():
        figure = empty_figure(WIDTH, 0.75 + LINE * len(scores))
        axes = figure.subplots()
        for n, values in enumerate(scores.values()):
            axes.plot(values, [n] * len(values), "o", color=COLOURS[0], markersize=4.5, alpha=0.6)
            axes.plot(fmean(values), n, "|", color=INK, markersize=11, markeredgewidth=1.6)
        _lines(axes, list(scores), score)
    return figure


def forest(
    differences: Mapping[str, tuple[float, float | None, float | None, bool]], label: str
) -> Figure:
    """A line a pair, from the top: mean difference and its interval, about a line at zero.

    differences: mean, low, high, and whether the test decides, which fills the dot. Without ends
    there is no interval.
    """
    with styled():
        figure = empty_figure(WIDTH, 0.75 + LINE * len(differences))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8)
        for n, (mean, low, high, decided) in enumerate(differences.values()):
            if low is not None and high is not None:
                axes.plot([low, high], [n, n], color=COLOURS[0], linewidth=1.6)
            face = COLOURS[0] if decided else "none"
            axes.plot(mean, n, "o", markersize=6, markerfacecolor=face, markeredgecolor=COLOURS[0])
        _lines(axes, list(differences), label)
    return figure


def _lines(axes: Any, names: Sequence[str], label: str) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(label)
    axes.grid(axis="x")
    axes.hlines(
        range(len(names)), *axes.get_xlim(), color=FAINT, linewidth=0.3, linestyle=":", zorder=0
    )


def seeds_section(table: Table, gallery: Gallery) -> Section:
    """A column each: what every seed of every trained row scored."""

    def drawn(column: str) -> Chart | str:
        scores = {
            table.label(row): cell.values
            for row in table.rows
            if row not in table.trivial_rows and (cell := table.cells[row, column]).values
        }
        if not scores:
            return "no seed of a trained method has a score"
        metric = next(table.cells[row, column].metric for row in table.rows)
        figure = seeds(scores, f"test {spoken(metric)}")
        caption = f"A dot a seed, a bar at the mean; {_direction(table, column)}."
        description = captions.seeds(scores, metric)
        return gallery.chart(figure, column, caption, description, "seeds", column)

    return section(table.columns, drawn)


def forest_section(table: Table, gallery: Gallery) -> Section:
    """A column each: the paired differences with the reference row."""
    reference = table.reference

    def drawn(column: str) -> Chart | str:
        shown = [it for it in table.against_reference() if it.column == column]
        if not shown:
            return "no seed is shared"
        lines: dict[str, tuple[float, float | None, float | None, bool]] = {}
        for it in shown:
            other = it.minuend if it.subtrahend == reference else it.subtrahend
            found = table.outcomes.get(it.place)
            decided = found is not None and found.word != "undecided"
            lines[table.label(other)] = (it.mean, it.low, it.high, decided)
        each = shown[0].subtrahend == reference
        label = f"each − {reference}" if each else f"{reference} − each"
        figure = forest(lines, f"{label}, {spoken(shown[0].metric)}")
        caption = (
            f"{label} on shared seeds: mean and 95 % interval; filled where the test decides; "
            f"{_direction(table, column)}."
        )
        return gallery.chart(
            figure, column, caption, captions.forest(lines, label), "differences", column
        )

    return section(table.columns, drawn)


def _direction(table: Table, column: str) -> str:
    better = table.higher_is_better[column]
    if better is None:
        return "neither is better"
    return "higher is better" if better else "lower is better"
