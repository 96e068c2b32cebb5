"""Figures: the right marks in the right places, readable on light and dark, the same every time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from equigrid.reporting.page import captions, charts
from equigrid.reporting.page.charts import GridPoint

ODD = "<b>&x $a$ (λ)"
GRID = [
    GridPoint({"lr": 0.003, "lambda": 0.5}, 0.8, "finished"),
    GridPoint({"lr": 0.003, "lambda": 2.0}, 0.9, "finished", selected=True),
    GridPoint({"lr": 0.01, "lambda": 0.5}, None, "failed"),
    GridPoint({"lr": 0.01, "lambda": 2.0}, None, "missing"),
]


def heat_map(points: list[GridPoint], higher_is_better: bool = True) -> Figure:
    return charts.heat_map(points, "val_accuracy", higher_is_better=higher_is_better)


def cells(figure: Figure) -> dict[str, tuple[str, str]]:
    """{what stands in a cell: its (x, y) tick labels}."""
    (axes,) = figure.axes
    across = [label.get_text() for label in axes.get_xticklabels()]
    up = [label.get_text() for label in axes.get_yticklabels()] or [""]
    found = {}
    for text in axes.texts:
        x, y = text.get_position()
        found[text.get_text()] = across[int(x)], up[int(y)]
    return found


def luminance(colour: object) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: object, other: object) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def all_figures() -> dict[str, Figure]:
    rows = ["CNN", ODD]
    histories = {"CNN": [[0.1, 0.5, 0.6], [0.2, 0.4]], ODD: [[0.3]]}
    errors = {"CNN": [(2.02, 0.5), (2.05, 0.6)], ODD: [(2.03, 0.7)]}
    parameters = {"CNN": (33742, 0.9, 0.01), ODD: (53742, 0.91, 0.0)}
    images = np.linspace(0, 1, 2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    return {
        "heat-map": heat_map(GRID),
        "curves": charts.curves(rows, histories, "val_accuracy"),
        "error": charts.score_by_error(rows, errors, "test accuracy"),
        "parameters": charts.score_by_parameters(rows, parameters, "test accuracy"),
        "orbits": charts.pictures(images, ["one", ODD], ["e", "a", "b²"]),
    }


def test_each_grid_point_stands_at_its_rates() -> None:
    assert cells(heat_map(GRID)) == {
        "0.8000": ("0.5", "0.003"),
        "★ 0.9000": ("2", "0.003"),
        "failed": ("0.5", "0.01"),
        "missing": ("2", "0.01"),
    }


def test_a_grid_without_strengths_is_one_line() -> None:
    points = [
        GridPoint({"lr": 0.01}, 0.7, "finished", True),
        GridPoint({"lr": 0.003}, 0.6, "finished"),
    ]
    assert cells(heat_map(points)) == {"★ 0.7000": ("0.01", ""), "0.6000": ("0.003", "")}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_the_better_cell_is_the_brighter_one_and_its_number_readable(
    higher_is_better: bool,
) -> None:
    scores = np.linspace(0.1, 0.9, 9)
    points = [GridPoint({"lr": n + 1.0}, score, "finished") for n, score in enumerate(scores)]
    (axes,) = heat_map(points, higher_is_better).axes
    fills = [patch.get_facecolor() for patch in axes.patches]
    brightness = [luminance(fill) for fill in fills]
    assert brightness == sorted(brightness, reverse=not higher_is_better)
    for fill, text in zip(fills, axes.texts, strict=True):
        assert contrast(fill[:3], text.get_color()) > 4.5


def test_what_has_no_score_is_hatched_and_not_coloured() -> None:
    (axes,) = heat_map(GRID).axes
    hatches = [patch.get_hatch() for patch in axes.patches]
    assert hatches[:2] == [None, None]
    assert hatches[2] != hatches[3]
    assert all(patch.get_facecolor()[3] == 0 for patch in axes.patches[2:])


def test_rows_look_different_and_stand_out_on_light_and_dark() -> None:
    looks = [charts._look(n) for n in range(84)]
    assert len({(it["color"], it["marker"], it["linestyle"]) for it in looks}) == 84
    for colour in charts.COLOURS:
        assert contrast(colour, "#ffffff") >= 3
        assert contrast(colour, "#15181d") >= 3


def test_points_lie_within_the_axes_and_a_tick_is_labelled() -> None:
    figure = all_figures()["error"]
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert low < 2.02
    assert high > 2.05
    assert [tick for tick in axes.get_xticks() if low <= tick <= high]
    (axes,) = all_figures()["parameters"].axes
    low, high = axes.get_ylim()
    assert low < 0.89
    assert high >= 0.91
    assert "42 000" in [label.get_text() for label in axes.get_xticklabels()]


@pytest.mark.parametrize("name", all_figures())
def test_an_svg_fits_into_any_page(name: str) -> None:
    text = charts.svg(all_figures()[name], name, f'{ODD} "quoted"')
    svg = ElementTree.fromstring(re.sub(r"\bxlink:href", "href", text))
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == f'{ODD} "quoted"'
    assert "http" not in text
    assert "<style" not in text
    ids = [element.get("id") for element in svg.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    assert all(it.startswith(f"{name}-") for it in ids if it)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert set(used) <= set(ids)
    # Text stays text, in the colour of the page around it.
    words = "".join(svg.itertext())
    assert charts.INK not in text
    assert "currentColor" in text
    assert name == "heat-map" or ODD in words


@pytest.mark.parametrize("name", all_figures())
def test_the_same_figure_gives_the_same_bytes(name: str) -> None:
    first, second = all_figures()[name], all_figures()[name]
    assert charts.svg(first, name, "x") == charts.svg(second, name, "x")
    drawn = charts.pdf(first)
    assert drawn.startswith(b"%PDF")
    assert b"Date" not in drawn
    assert drawn == charts.pdf(second)


def test_captions_say_the_numbers() -> None:
    said = captions.heat_map(GRID, "val_accuracy")
    assert "selected lr 0.003, λ 2 with 0.9000" in said
    assert "failed: lr 0.01, λ 0.5" in said
    assert "missing: lr 0.01, λ 2" in said
    said = captions.curves({"CNN": [[0.1, 0.5], [0.3, 0.5, 0.7]]}, "val_loss")
    assert "Validation loss" in said
    assert "2 seeds, mean from 0.200 in epoch 1 to 0.600 at the end, after 2 to 3 epochs" in said
    said = captions.score_by_error({"CNN": [(2.0, 0.5), (1e-4, 0.25)]}, "test accuracy")
    assert "2 seeds, error 0.0001 to 2, score 0.250 to 0.500" in said
    said = captions.score_by_parameters({"CNN": (9, 0.5, 0.1)}, "test accuracy")
    assert "9 parameters, mean 0.500, standard deviation 0.100" in said
