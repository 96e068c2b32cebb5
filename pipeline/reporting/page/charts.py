"""The figures of a report: matplotlib figures, and their bytes as inline SVG and as PDF.

Every figure is drawn on nothing: the SVG takes the colour of text and axes from the page, so one
serves light and dark. The same data give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from equigrid.reporting.words import hyperparameter, number, spoken
from equigrid.trial import in_order, symbol

#: What the page's own text colour replaces in the SVG.
INK = "#010203"
#: Visible, and no more, on white and on near-black.
FAINT = "#909090"
#: Okabe and Ito's, the orange darker: each has a contrast of 3 on white and on near-black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B27B00", "#808080")
# 6 colours, 7 markers and 4 dashes: two rows look alike only 84 rows apart.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")
SELECTED = "★"
#: Of a relative equivariance error: less is rounding.
LEAST_ERROR = 1e-6

#: Inches. On a phone's 390 pixels the text of such a figure stays readable.
WIDTH, HEIGHT = 4.6, 3.0
#: So many times as wide as drawn a page shows a figure at most.
WIDEST = 1.6

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,  # names may hold a $
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.15,
    "hatch.linewidth": 0.6,
    "image.composite_image": False,  # it would resample them
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}

State = Literal["finished", "failed", "missing"]


@dataclass(frozen=True)
class GridPoint:
    """One point of a grid: values by hyperparameter.

    score: validation score, mean over the grid's seeds; None unless all of them have finished.
    """

    values: Mapping[str, float]
    score: float | None
    state: State
    selected: bool = False

    @property
    def name(self) -> str:
        return ", ".join(f"{symbol(name)} {self.values[name]:g}" for name in in_order(self.values))


@contextmanager
def styled(**settings: Any) -> Iterator[None]:
    """matplotlib's defaults and ours, whatever this machine's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | settings)
        yield


def empty_figure(width: float, height: float, **layout: Any) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", **layout)


def _look(n: int) -> dict[str, Any]:
    """Colour, marker and dash of the n-th row."""
    return {
        "color": COLOURS[n % len(COLOURS)],
        "marker": MARKERS[n % len(MARKERS)],
        "linestyle": DASHES[n % len(DASHES)],
        "markersize": 5,
    }


def _legend(figure: Figure, axes: Any) -> None:
    """Above the axes, in as many columns as the longest name leaves room for."""
    handles, names = axes.get_legend_handles_labels()
    columns = min(len(names), max(1, 58 // (max(map(len, names)) + 6)))
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(names) // columns))
    figure.legend(handles, names, loc="outside upper left", ncols=columns)


def heat_map(points: Sequence[GridPoint], score: str, *, higher_is_better: bool) -> Figure:
    """The learning rate upwards, another searched value to the right; a brighter cell is better.

    Of more than two values that vary, a panel for every setting of the others.
    points: of one row and dataset, at least one. What has no score is hatched and says why.
    """
    axis_names, other_names = _axes_of(points)
    *up_name, across_name = axis_names
    across = sorted({point.values[across_name] for point in points})
    up = sorted({point.values[name] for point in points for name in up_name})
    scores = [point.score for point in points if point.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    panels: dict[tuple[float, ...], list[GridPoint]] = {}
    for point in points:
        panels.setdefault(tuple(point.values[name] for name in other_names), []).append(point)
    with styled():
        colours = matplotlib.colormaps["viridis" if higher_is_better else "viridis_r"]
        height = 0.75 + 0.42 * max(len(up), 1)
        figure = empty_figure(max(3.2, 0.9 + 0.74 * len(across)), height * len(panels))
        column = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, (setting, shown) in zip(column, sorted(panels.items()), strict=True):
            for point in shown:
                at = across.index(point.values[across_name])
                above = up.index(point.values[up_name[0]]) if up_name else 0
                _cell(axes, point, at, above, low, high, colours)
            axes.set_xlim(-0.55, len(across) - 0.45)
            axes.set_ylim(-0.58, max(len(up), 1) - 0.42)
            axes.set_xticks(range(len(across)), [f"{value:g}" for value in across])
            axes.set_yticks(range(len(up)), [f"{value:g}" for value in up])
            axes.set_xlabel(hyperparameter(across_name))
            axes.set_ylabel(hyperparameter(up_name[0]) if up_name else "")
            here = [
                f"{hyperparameter(name)} {value:g}"
                for name, value in zip(other_names, setting, strict=True)
            ]
            axes.set_title(", ".join([spoken(score), *here]), fontsize="medium", loc="left")
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
    return figure


def _axes_of(points: Sequence[GridPoint]) -> tuple[list[str], list[str]]:
    """The one or two values on the axes, upwards before across, and those that vary beside them."""
    names = in_order(points[0].values)
    varying = [name for name in names if len({point.values[name] for point in points}) > 1]
    # With fewer than two that vary, those that do not fill the axes up.
    ranked = varying + [name for name in names if name not in varying]
    chosen = in_order(ranked[:2])
    return chosen, [name for name in varying if name not in chosen]


def _cell(
    axes: Any, point: GridPoint, x: int, y: int, low: float, high: float, colours: Any
) -> None:
    fill: Any = "none"
    ink, text = INK, str(point.state)
    if point.score is not None:
        fill = colours((point.score - low) / (high - low) if high > low else 0.5)
        ink = "#ffffff" if _luminance(fill) < 0.2 else "#111111"
        text = f"{SELECTED} {number(point.score)}" if point.selected else number(point.score)
    hatch = {"finished": None, "failed": "xxx", "missing": "///"}[point.state]
    # Hatches take the colour of the edge: faint, or the word on them cannot be read.
    edge, width = (INK, 2.2) if point.selected else (FAINT, 0.5)
    box = Rectangle(
        (x - 0.47, y - 0.45), 0.94, 0.9, facecolor=fill, edgecolor=edge, linewidth=width,
        hatch=hatch, clip_on=False,
    )  # fmt: skip
    axes.add_patch(box)
    axes.text(x, y, text, ha="center", va="center", color=ink)


def _luminance(colour: Sequence[float]) -> float:
    """WCAG's relative luminance: white text has the higher contrast below 0.18."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def curves(
    rows: Sequence[str],
    histories: Mapping[str, Sequence[Sequence[float]]],
    score: str,
    along: str = "epoch",
) -> Figure:
    """`score` by epoch: a line a row (mean over its seeds), a band from its lowest to its highest.

    rows: of the whole table, they fix the looks. histories: by row, one list of scores a seed;
    after a seed's early stop the mean is that of the others. along: what is counted from 1.
    """
    with styled():
        figure = empty_figure(WIDTH, HEIGHT)
        axes = figure.subplots()
        for n, row in enumerate(rows):
            seeds = histories.get(row, ())
            if not seeds:
                continue
            longest = max(map(len, seeds))
            at = [[seed[epoch] for seed in seeds if epoch < len(seed)] for epoch in range(longest)]
            epochs = range(1, longest + 1)
            every = -(-longest // 8)
            axes.plot(epochs, [fmean(v) for v in at], label=row, markevery=every, **_look(n))
            lowest, highest = [min(v) for v in at], [max(v) for v in at]
            axes.fill_between(
                epochs, lowest, highest, color=COLOURS[n % len(COLOURS)], alpha=0.2, linewidth=0
            )
        axes.set_xlabel(along)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(spoken(score))
        axes.grid()
        _legend(figure, axes)
    return figure


def score_by_error(
    rows: Sequence[str], points: Mapping[str, Sequence[tuple[float, float]]], score: str
) -> Figure:
    """A point a row and seed: (relative equivariance error, test score), errors on a log axis.

    An error below LEAST_ERROR, which is rounding, is drawn there. rows: of the whole table, they
    fix the looks.
    """
    with styled():
        figure = empty_figure(WIDTH, HEIGHT)
        axes = figure.subplots()
        for n, row in enumerate(rows):
            if points.get(row):
                of_row, scores = zip(*points[row], strict=True)
                of_row = tuple(max(error, LEAST_ERROR) for error in of_row)
                axes.plot(of_row, scores, label=row, **_look(n) | {"linestyle": "none"})
        errors = [max(error, LEAST_ERROR) for pairs in points.values() for error, _ in pairs]
        axes.set_xscale("log")
        # Wide enough to hold a tick of 1, 2 or 5 however close the points lie.
        axes.set_xlim(min(errors) / 1.7, max(errors) * 1.7)
        decades = max(errors) / min(errors) > 50
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("relative equivariance error on validation")
        axes.set_ylabel(score)
        axes.grid()
        _legend(figure, axes)
    return figure


def score_by_parameters(
    rows: Sequence[str], points: Mapping[str, tuple[int, float, float]], score: str
) -> Figure:
    """A point a row: parameters, mean test score, and its population std as an error bar.

    points: of two sizes at least. rows: of the whole table, they fix the looks.
    """
    with styled():
        figure = empty_figure(WIDTH, HEIGHT)
        axes = figure.subplots()
        counts = [count for count, _, _ in points.values()]
        for n, row in enumerate(rows):
            if row not in points:
                continue
            count, mean, std = points[row]
            # Those of one size stand above each other: unfilled, so that none hides another.
            look = _look(n) | {"linestyle": "none", "markerfacecolor": "none"}
            axes.errorbar(count, mean, yerr=std, label=row, capsize=4, **look)
        if max(counts) > 10 * max(min(counts), 1) and min(counts) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.margins(x=0.15)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        thousands = FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
        axes.xaxis.set_major_formatter(thousands)
        axes.set_xlabel("parameters")
        axes.set_ylabel(score)
        axes.grid()
        _legend(figure, axes)
    return figure


def multiplicities(
    names: Sequence[str],
    found: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    regular: Mapping[str, Sequence[float]],
) -> Figure:
    """By row a bar for each irreducible representation, and a line where the regular one has it.

    found: mean and standard deviation by row. A row whose latents carry none has no bars.
    """
    with styled():
        figure = empty_figure(max(WIDTH, 0.5 + 0.13 * len(names) * (len(found) + 1)), HEIGHT)
        axes = figure.subplots()
        width = 0.8 / len(found)
        for n, (row, (means, deviations)) in enumerate(found.items()):
            left = [k - 0.4 + n * width for k in range(len(names))]
            colour = COLOURS[n % len(COLOURS)]
            axes.bar(
                left, means, width * 0.9, yerr=deviations, align="edge", color=colour, label=row,
                error_kw={"ecolor": INK, "elinewidth": 0.8},
            )  # fmt: skip
            for x, height in zip(left, regular[row], strict=True):
                axes.hlines(height, x, x + width * 0.9, color=INK, linewidth=1.4)
        slanted: dict[str, Any] = {"rotation": 60, "ha": "right"} if len(names) > 6 else {}
        axes.set_xticks(range(len(names)), names, **slanted)
        axes.set_ylabel("multiplicity")
        _legend(figure, axes)
    return figure


def pictures(images: NDArray[Any], labels: Sequence[str], elements: Sequence[str]) -> Figure:
    """A line a label, a column an element: inputs and their orbits, roll-outs frame by frame.

    images: [labels, elements, rows, columns] greys or [..., 3] colours, in [0, 1].
    """
    samples, shown, height, width = images.shape[:4]
    side, apart = 0.56, 1.08
    tall = height / width
    with styled():
        figure = empty_figure(0.8 + side * apart * shown, 0.3 + side * apart * tall * samples)
        axes = figure.subplots()
        for y, of_sample in enumerate(images):
            for x, image in enumerate(of_sample):
                left, top = apart * x, apart * tall * y
                box = (left, left + 1, top + tall, top)
                axes.imshow(image, "gray", vmin=0, vmax=1, interpolation="none", extent=box)
        axes.set_xlim(0, apart * shown)
        axes.set_ylim(apart * tall * samples, 0)
        axes.set_xticks([apart * x + 0.5 for x in range(shown)], elements)
        axes.set_yticks([tall * (apart * y + 0.5) for y in range(samples)], labels)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def pdf(figure: Figure) -> bytes:
    """Without a date: the same figure gives the same bytes."""
    buffer = io.BytesIO()
    unsaid = dict.fromkeys(("CreationDate", "Creator", "Producer"))
    with styled():
        figure.savefig(buffer, format="pdf", metadata=unsaid)
    return buffer.getvalue()


def svg(figure: Figure, name: str, description: str) -> str:
    """An `<svg>` element for the middle of a page; the description is what it says unseen.

    name: letters, digits, `_` and `-`, unlike any other's of the page: ids begin with it.
    """
    buffer = io.StringIO()
    with styled(**{"svg.hashsalt": name}):
        unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=unsaid)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<defs>\s*<style.*?</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor")
    # As wide as its place on the page, up to what looks coarse; never smaller than can be read.
    width, height = (96 * inches for inches in figure.get_size_inches())
    opening = (
        f'<svg role="img" aria-label="{escape(description)}" '
        f'viewBox="0 0 {width * 0.75:g} {height * 0.75:g}" '
        f'style="width: 100%; max-width: {WIDEST * width:.0f}px; min-width: {width * 0.75:.0f}px">'
    )
    return re.sub(r"<svg [^>]*>", lambda _: opening, text, count=1).strip()
