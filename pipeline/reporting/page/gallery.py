"""Figures on their way to a page: each as SVG and, under a name of its own, as PDF."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from matplotlib.figure import Figure

from equigrid.reporting.page import charts
from equigrid.reporting.page.page import Chart, Section


class Gallery:
    """pdfs: every figure drawn so far, by its name on the page."""

    def __init__(self) -> None:
        self.pdfs: dict[str, bytes] = {}

    def chart(
        self, figure: Figure, heading: str, caption: str, description: str, *names: str
    ) -> Chart:
        """Keep the figure's PDF under a name of its own and give the figure for the page."""
        plain = re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-")
        name, n = plain, 1
        while name in self.pdfs:
            n += 1
            name = f"{plain}-{n}"
        self.pdfs[name] = charts.pdf(figure)
        return Chart(name, heading, caption, charts.svg(figure, name, description))


def section(names: Iterable[str], draw: Callable[[str], Chart | list[Chart] | str]) -> Section:
    """draw: the charts of a name, or why there is none. Names with one reason share a line."""
    drawn = {name: draw(name) for name in names}
    missing: dict[str, list[str]] = {}
    for name, it in drawn.items():
        if isinstance(it, str):
            missing.setdefault(it, []).append(name)
    return Section(
        tuple(
            chart
            for it in drawn.values()
            if not isinstance(it, str)
            for chart in ([it] if isinstance(it, Chart) else it)
        ),
        tuple(f"{', '.join(named)}: {reason}." for reason, named in missing.items()),
    )
