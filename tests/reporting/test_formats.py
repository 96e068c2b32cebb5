"""Formats: the same cells with the same digits, gaps in words, and CSV that reads back exactly."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace
from statistics import fmean, pstdev, stdev
from typing import Any

import pytest
from rich.console import Console

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.reporting import csv_files, formats
from equigrid.reporting.assembly import compared
from equigrid.reporting.table import Cell, Table, published_table
from equigrid.reporting.terminal import terminal
from equigrid.reporting.verdicts import Published

SCORES = (0.9, 0.91, 0.93)


def cell(*values: float, wanted: int | None = None, gap: str = "", **changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "seeds": tuple(range(len(values))),
        "dataset": "D1",
        "split": "test",
        "metric": "accuracy",
        "values": values,
        "wanted": len(values) if wanted is None else wanted,
        "gap": gap,
        "point": {"lr": 0.001, "lambda": 0.5},
        "latents": {"equivariance_error": (0.25, 0.5)},
        "parameters": 33742,
        "published": None,
    }
    return Cell(**(fields | changes))


def trivial(value: float = 0.1, **changes: Any) -> Cell:
    return cell(value, point={}, latents={}, parameters=0, **changes)


def table(cells: dict[tuple[str, str], Cell], **changes: Any) -> Table:
    rows = tuple(dict.fromkeys(row for row, _ in cells))
    columns = tuple(dict.fromkeys(column for _, column in cells))
    fields: dict[str, Any] = {
        "name": "tiny",
        "title": "Tiny",
        "rows": rows,
        "columns": columns,
        "trivial_rows": frozenset({"Chance"}),
        "higher_is_better": dict.fromkeys(columns, True),
        "cells": cells,
        "notes": ("A note.",),
    }
    return Table(**(fields | changes))


def one(ours: Cell) -> Table:
    return table({("Chance", "D1"): trivial(), ("Ours", "D1"): ours})


def as_csv(shown: Table) -> dict[tuple[str, str], dict[str, str]]:
    lines = csv.DictReader(io.StringIO(csv_files.comma_separated(shown)))
    return {(line["row"], line["column"]): line for line in lines}


def markdown_cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_cell_is_mean_population_deviation_and_n() -> None:
    assert formats.score(cell(*SCORES)) == "0.913 (0.012), n=3"
    assert cell(*SCORES).mean == fmean(SCORES)
    assert cell(*SCORES).std == pstdev(SCORES)
    assert cell(*SCORES).std != stdev(SCORES)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (cell(0.9, 0.91, wanted=3, gap="2/3 seeds"), "[2/3 seeds] 0.905 (0.005)"),
        (cell(0.9, 0.91, wanted=3), "[2/3 seeds] 0.905 (0.005)"),
        (cell(0.9, wanted=3, gap="1/3 seeds, 2 failed"), "[1/3 seeds, 2 failed] 0.900 (0.000)"),
        (cell(wanted=3), "– 0/3 seeds"),
        (cell(wanted=3, gap="grid 1/4 done"), "– grid 1/4 done"),
        (cell(wanted=3, gap="train.gz is missing"), "– train.gz is missing"),
        # All seeds are there, but one grid point is not: nobody may take it for whole.
        (cell(*SCORES, gap="grid 3/4, 1 failed"), "[grid 3/4, 1 failed] 0.913 (0.012)"),
    ],
)  # fmt: skip
def test_an_incomplete_cell_says_what_is_missing(shown: Cell, text: str) -> None:
    assert formats.score(shown) == text
    assert not shown.is_whole
    assert shown.difference is None
    assert markdown_cells(formats.markdown(one(shown)))[3][2] == text


def test_one_seed_has_no_deviation_to_show() -> None:
    assert formats.score(trivial(0.5)) == "0.500, n=1"
    assert trivial(0.5).standard_error is None


def test_markdown_shows_rows_parameters_and_equivariance() -> None:
    shown = table(
        {
            ("Chance", "a"): trivial(), ("Chance", "b"): trivial(0.2),
            ("Ours|x", "a"): cell(*SCORES), ("Ours|x", "b"): cell(*SCORES, split="other"),
        }
    )  # fmt: skip
    text = formats.markdown(shown)
    assert text.startswith("# Tiny\n")
    assert text.endswith("- A note.\n")
    assert markdown_cells(text) == [
        ["Method", "Parameters", "a", "b"],
        ["---"] * 4,
        ["Chance", "0", "0.100, n=1", "0.200, n=1"],
        ["Ours\\|x", "33 742", "0.913 (0.012), n=3", "0.913 (0.012), n=3"],
        ["Latents, D1", "equivariance error"],
        ["---"] * 2,
        ["Ours\\|x", "0.375"],
    ]


def test_published_figures_stand_beside_the_reproduced_ones() -> None:
    shown = table(
        {
            ("Ours", "a"): cell(*SCORES, published=Published(0.92, 0.004, seeds=5)),
            ("Ours", "b"): cell(*SCORES),
            ("New", "a"): cell(*SCORES),
            ("New", "b"): cell(*SCORES),
        }
    )
    lines = markdown_cells(formats.markdown(shown))
    assert lines[0] == ["Method", "Parameters", "a", "a published", "difference", "b"]
    assert lines[2][3:5] == ["0.920 (0.004)", "-0.007"]
    assert lines[3][3:5] == ["–", "–"]
    line = as_csv(shown)["Ours", "a"]
    assert (line["published_mean"], line["published_std"]) == ("0.92", "0.004")
    assert float(line["difference"]) == fmean(SCORES) - 0.92


def test_csv_reads_back_to_the_same_numbers() -> None:
    awkward = (0.1 + 0.2, 1 / 3, 2 / 7)
    ours = cell(
        *awkward,
        published=Published(0.92, 0.004, seeds=5),
        latents={"equivariance_error": (1 / 3, 1e-17)},
    )
    line = as_csv(one(ours))["Ours", "D1"]
    assert tuple(map(float, line["values"].split())) == awkward
    assert float(line["mean"]) == fmean(awkward)
    assert float(line["std"]) == pstdev(awkward)
    assert float(line["standard_error"]) == stdev(awkward) / math.sqrt(3)
    assert (int(line["n"]), int(line["wanted"]), line["gap"]) == (3, 3, "")
    assert (float(line["lr"]), float(line["lambda"])) == (0.001, 0.5)
    assert float(line["equivariance_error"]) == (1 / 3 + 1e-17) / 2
    assert int(line["parameters"]) == 33742


def test_csv_leaves_what_is_not_known_empty_and_quotes_gaps() -> None:
    lines = as_csv(one(cell(wanted=3, gap='missing: "a", b\nc', point={}, latents={})))
    line = lines["Ours", "D1"]
    for name in ("mean", "std", "standard_error", "margin_over_trivial", "lr", "lambda",
                 "equivariance_error", "published_mean", "difference", "values"):  # fmt: skip
        assert line[name] == ""
    assert line["gap"] == 'missing: "a", b\nc'
    assert lines["Chance", "D1"]["margin_over_trivial"] == ""


def test_notes_of_several_lines_stay_one_line_each() -> None:
    shown = replace(one(cell(*SCORES)), notes=("first line\nsecond line",))
    text = formats.markdown(shown)
    assert all(not line or line.startswith(("#", "|", "-", " ")) for line in text.splitlines())


def test_a_gap_of_several_lines_keeps_the_table_a_table() -> None:
    text = formats.markdown(one(cell(wanted=3, gap="first line\nsecond line")))
    widths = [len(line) for line in markdown_cells(text)]
    assert widths == [3, 3, 3, 3, 2, 2, 2]


def test_the_margin_is_in_the_cell_s_own_standard_errors() -> None:
    shown = one(cell(*SCORES))
    expected = (fmean(SCORES) - 0.1) / (stdev(SCORES) / math.sqrt(3))
    assert shown.margin("Ours", "D1") == pytest.approx(expected)
    assert float(as_csv(shown)["Ours", "D1"]["margin_over_trivial"]) == shown.margin("Ours", "D1")
    assert shown.margin("Chance", "D1") is None


def test_the_margin_of_a_loss_counts_downwards() -> None:
    shown = replace(one(cell(0.2, 0.3)), higher_is_better={"D1": False})
    assert shown.margin("Ours", "D1") == pytest.approx((0.1 - 0.25) / 0.05)


def test_the_margin_is_over_the_best_trivial_row() -> None:
    shown = table(
        {
            ("Chance", "D1"): trivial(0.1),
            ("Persistence", "D1"): trivial(0.8),
            ("Ours", "D1"): cell(0.9, 0.92),
        },
        trivial_rows=frozenset({"Chance", "Persistence"}),
    )
    assert shown.margin("Ours", "D1") == pytest.approx((0.91 - 0.8) / 0.01)


@pytest.mark.parametrize(
    ("ours", "margin"),
    [
        (cell(0.9), None),
        (cell(wanted=3), None),
        (cell(0.9, 0.9), math.inf),
        (cell(0.05, 0.05), -math.inf),
        (cell(0.1, 0.1), 0.0),  # it collapsed to what the trivial row says
    ],
)
def test_the_margin_of_few_or_equal_seeds(ours: Cell, margin: float | None) -> None:
    assert one(ours).margin("Ours", "D1") == margin


def test_no_trivial_row_no_margin() -> None:
    assert table({("Ours", "D1"): cell(*SCORES)}).margin("Ours", "D1") is None


@pytest.mark.parametrize("gap", ["2/3 seeds", "grid 3/4, 1 failed", "/data/x is missing"])
def test_the_terminal_shows_the_same_cells(gap: str) -> None:
    output = io.StringIO()
    console = Console(file=output, width=120)
    for part in terminal(one(cell(0.9, 0.91, wanted=3, gap=gap)), 120):
        console.print(part)
    assert f"[{gap}] 0.905 (0.005)" in output.getvalue()
    assert "0.100, n=1" in output.getvalue()
    assert "0.375" in output.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("columns", [1, 2, 4, 9])
@pytest.mark.parametrize("layout", ["cells", "runs"])
def test_no_number_is_cut_and_no_table_wider_than_its_window(width, columns, layout) -> None:
    scores = {"D" * n: (0.9123 / 10**n, 0.8123, 0.7) for n in range(1, columns + 1)}
    ours = {
        ("Ours and more", name): cell(*values, metric="mse", published=Published(0.9, 0.01))
        for name, values in scores.items()
    }
    theirs = {
        ("CNN (augmented)", name): replace(it, values=SCORES) for (_, name), it in ours.items()
    }
    shown = table({**theirs, **ours}, layout=layout, reference="Ours and more")
    pairs = [("Ours and more", "CNN (augmented)")] if layout == "cells" else []
    output = io.StringIO()
    console = Console(file=output, width=width)
    found = compared(shown, {}, pairs)
    for part in terminal(found, width):
        console.print(part)
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = set(re.split(r"[\s│(),\[\]]+", text))
    for it in shown.cells.values():
        assert it.style.value("mse", it.mean) in words
    for it in found.comparisons:
        assert it.style.signed("mse", it.low) in words


@pytest.mark.parametrize("name", ["ddmnist", "holographic", "medmnist3d", "smoke"])
def test_a_published_figure_stands_in_a_cell_of_its_search_space(name) -> None:
    """The cosines of table H are the authors', which counts degrees unequally."""
    experiment = load_experiment(name)
    space = experiment.space
    for row, figures in published_table(space.published).items():
        for column in figures:
            assert (row, column) in experiment.cells()
            assert space.columns[column].metric != "cosine"


def test_published_tables_are_known_by_name() -> None:
    assert published_table("table4")["Ours"]["C4"] == Published(0.915, 0.004, 3, seeds=5)
    with pytest.raises(InputError, match=r"'table99'; allowed: .*table4"):
        published_table("table99")
