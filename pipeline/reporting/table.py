"""A table and its cells, as plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from statistics import fmean, pstdev, stdev
from typing import Any

import yaml

from equigrid.errors import InputError
from equigrid.reporting.comparison import Comparison, Finding, Place
from equigrid.reporting.style import USUAL, Style
from equigrid.reporting.verdicts import Published, Verdict

#: Of validation's latents (equigrid.metrics.latent_measures), with their headings.
LATENT_MEASURES = {
    "equivariance_error": "equivariance error",
    "centred_error": "means removed",
    "invariance_error": "without ρ",
    "fixed_share": "share fixed",
}

#: A search space's own published figures: by row and column mean, standard deviation and number of
#: seeds as they are written.
Figures = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Cell:
    """values: one score per finished seed of `seeds`. wanted: how many there should be.

    gap: why the cell is not whole, empty where it is. point: the selected hyperparameters.
    latents: how the group moves the latents of validation, by measure (LATENT_MEASURES) one number
    per seed, where measured.
    doubts: what is wrong with how its trainings are tracked, one text a run in doubt.
    style: how its scores are shown.
    """

    dataset: str
    split: str
    metric: str
    values: tuple[float, ...]
    wanted: int
    gap: str
    point: Mapping[str, float | str]
    latents: Mapping[str, tuple[float, ...]]
    parameters: int | None
    published: Published | None
    seeds: tuple[int, ...] = ()
    doubts: tuple[str, ...] = ()
    style: Style = USUAL

    @property
    def is_whole(self) -> bool:
        return not self.gap and len(self.values) == self.wanted

    @property
    def mean(self) -> float | None:
        return fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The population standard deviation, as the paper gives it."""
        return pstdev(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation that the table shows."""
        return self.style.std(self.values)

    @property
    def standard_error(self) -> float | None:
        """Sample standard deviation / √n, from two seeds on."""
        n = len(self.values)
        return stdev(self.values) / math.sqrt(n) if n > 1 else None

    @property
    def difference(self) -> float | None:
        """Reproduced − published, of a whole cell."""
        if self.published is None or not self.is_whole or self.mean is None:
            return None
        return self.mean - self.published.mean


@dataclass(frozen=True)
class Table:
    """cells by (row, column); notes are shown below it. Holds nothing that differs between runs.

    verdicts: of whole cells with a published value, in the published setting.
    comparisons: of trained rows, two by two. reference: the row that the others are shown against,
    None without a pair. outcomes: what the comparisons with it show. style: of numbers.
    layout: `runs` has a line for each run above its row's mean, and one for each published run;
    `datasets` a table for each dataset. higher_is_better: None where neither is. findings: those of
    the notes that a reader should see first. controls: the method by row that is a control of it.
    external: of runs that were not made here, of whose networks nothing is known.
    """

    name: str
    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    trivial_rows: frozenset[str]
    higher_is_better: Mapping[str, bool | None]
    cells: Mapping[tuple[str, str], Cell]
    notes: tuple[str, ...]
    verdicts: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)
    comparisons: tuple[Comparison, ...] = ()
    reference: str | None = None
    outcomes: Mapping[Place, Finding] = field(default_factory=dict)
    style: Style = USUAL
    layout: str = "cells"
    published_runs: tuple[Mapping[str, float], ...] = ()
    findings: tuple[str, ...] = ()
    controls: Mapping[str, str] = field(default_factory=dict)
    external: bool = False

    @property
    def has_published(self) -> bool:
        return any(cell.published for cell in self.cells.values())

    def run_lines(self, row: str) -> list[tuple[int, dict[str, float]]]:
        """(seed, score by column) of each finished run of a row; none but in layout `runs`."""
        if self.layout != "runs" or row in self.trivial_rows:
            return []
        scores = {
            column: dict(zip(cell.seeds, cell.values, strict=True))
            for column in self.columns
            if (cell := self.cells[row, column]).values
        }
        seeds = sorted({seed for by_seed in scores.values() for seed in by_seed})
        return [
            (seed, {column: found[seed] for column, found in scores.items() if seed in found})
            for seed in seeds
        ]

    def against_reference(self) -> tuple[Comparison, ...]:
        """The comparisons with the reference row."""
        return tuple(c for c in self.comparisons if self.reference in (c.minuend, c.subtrahend))

    def paired(
        self, comparisons: Iterable[Comparison]
    ) -> list[tuple[str, str, list[Comparison | None]]]:
        """(minuend, subtrahend, their comparison in each column)."""
        found = {c.place: c for c in comparisons}
        pairs = dict.fromkeys((minuend, subtrahend) for minuend, subtrahend, _ in found)
        return [(*pair, [found.get((*pair, column)) for column in self.columns]) for pair in pairs]

    def label(self, row: str) -> str:
        """A row's name as tables show it: a control stands below its method."""
        return f"↳ {row}" if row in self.controls else row

    def latent_measures(self) -> dict[str, dict[str, dict[str, float]]]:
        """{dataset: {row: {measure: mean over seeds}}} where anything was measured."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (row, _), cell in self.cells.items():
            if cell.latents:
                means = {name: fmean(values) for name, values in cell.latents.items()}
                found.setdefault(cell.dataset, {})[row] = means
        return found

    def margin(self, row: str, column: str) -> float | None:
        """By how many of its standard errors a trained cell beats the best trivial row.

        None for trivial rows, incomplete cells and single seeds. Where all seeds agree it is
        infinite, and 0 where they agree with the trivial row, as of a network that learned nothing.
        """
        cell, better = self.cells[row, column], self.higher_is_better[column]
        if better is None:
            return None
        sign = 1 if better else -1
        rivals = [
            sign * rival.mean
            for trivial in self.rows
            if trivial in self.trivial_rows
            and (rival := self.cells[trivial, column]).mean is not None
        ]
        if row in self.trivial_rows or not rivals or cell.mean is None:
            return None
        error = cell.standard_error
        if error is None:
            return None
        ahead = sign * cell.mean - max(rivals)
        if error:
            return ahead / error
        return math.copysign(math.inf, ahead) if ahead else 0.0


@lru_cache
def _published() -> Mapping[str, Any]:
    text = resources.files("equigrid.reporting").joinpath("published.yaml").read_text("utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


def _published_named(name: str) -> Mapping[str, Any]:
    """InputError for a table that is not known."""
    if name not in _published():
        raise InputError(f"published: {name!r}; allowed: {', '.join(_published())}")
    found: Mapping[str, Any] = _published()[name]
    return found


def published_table(source: str | Figures) -> Mapping[str, Mapping[str, Published]]:
    """{row: {column: figure}}, nothing of a table of runs; raises InputError.

    source: a table of the paper's by its name, or a search space's own figures. A figure without a
    standard deviation is a single run's; its digits are as written there.
    """
    if not isinstance(source, str):
        return {
            row: {column: _given(figure) for column, figure in cells.items()}
            for row, cells in source.items()
        }
    table = _published_named(source)
    return {
        row: {
            column: Published(cell[0], cell[1], table["decimals"], table["seeds"].get(row))
            if isinstance(cell, list)
            else Published(float(cell), None, _decimals(cell), 1)
            for column, cell in cells.items()
        }
        for row, cells in table.get("rows", {}).items()
    }


def _given(figure: Sequence[str]) -> Published:
    """Of mean, standard deviation and number of seeds, as far as they are given."""
    mean, *rest = figure
    digits = max(map(_decimals, figure[:2]))
    if not rest:
        return Published(float(mean), None, digits, 1)
    return Published(float(mean), float(rest[0]), digits, int(rest[1]) if rest[1:] else None)


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def published_runs(source: str | Figures) -> tuple[Mapping[str, float], ...]:
    """{column: figure} of each published run, nothing of a table of means; raises InputError."""
    if not isinstance(source, str):
        return ()
    table = _published_named(source)
    return tuple(dict(zip(table["columns"], run, strict=True)) for run in table.get("runs", ()))
