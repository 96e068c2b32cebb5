"""Pictures of a learned action: its eigenvalues on the way (figure 4), and at work (figure 3)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.objectives.learned_action import LearnedAction
from equigrid.objectives.sheet import contact_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of an animation: pixels a side, what the plane shows, milliseconds a frame and of the last.
SIDE, REACH, FRAME, LAST = 320, 1.6, 160, 2000
#: Drawn so many times larger and then scaled down: smooth edges.
FINE = 3
PAPER, INK, QUIET = (255, 255, 255), (30, 30, 30), (170, 170, 170)
#: Of the generators a, b, …: told apart by those who see few colours, too.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))
#: Shown.
PAIRS = 8
LINES = "x1, D(E(x1)), D(M E(x1)), x2"


def animation(steps: Sequence[int], eigenvalues: NDArray[Any], orders: Sequence[int]) -> bytes:
    """A GIF: a frame for each of the steps; eigenvalues [steps, generators, d, 2].

    orders: of the generators, whose roots of unity are crosses.
    """
    frames = [_frame(step, values, orders) for step, values in zip(steps, eigenvalues, strict=True)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], loop=0,
        duration=[FRAME] * (len(frames) - 1) + [LAST],
    )  # fmt: skip
    return buffer.getvalue()


def _frame(step: int, values: NDArray[Any], orders: Sequence[int]) -> Image.Image:
    size = SIDE * FINE
    image = Image.new("RGB", (size, size), PAPER)
    draw = ImageDraw.Draw(image)

    def at(point: Sequence[float] | NDArray[Any]) -> tuple[float, float]:
        return (size / 2 * (1 + point[0] / REACH), size / 2 * (1 - point[1] / REACH))

    def disc(point: Sequence[float] | NDArray[Any], radius: float, **how: Any) -> None:
        x, y = at(point)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), **how)

    disc((0, 0), size / 2 / REACH, outline=QUIET, width=FINE)
    for order, colour in zip(orders, COLOURS, strict=False):
        for k in range(order):
            x, y = at((np.cos(2 * np.pi * k / order), np.sin(2 * np.pi * k / order)))
            arm = 8 * FINE
            draw.line((x - arm, y, x + arm, y), fill=colour, width=FINE)
            draw.line((x, y - arm, x, y + arm), fill=colour, width=FINE)
    for found, colour in zip(values, COLOURS, strict=False):
        for point in found:
            disc(point, 3.5 * FINE, fill=colour, outline=PAPER, width=FINE)
    draw.text((8 * FINE, 8 * FINE), f"step {step}", fill=INK, font_size=14 * FINE)
    for n in range(len(values)):
        place = (8 * FINE, (26 + 16 * n) * FINE)
        draw.text(place, "abcd"[n : n + 1], fill=COLOURS[n % len(COLOURS)], font_size=14 * FINE)
    small = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small.quantize(32, dither=Image.Dither.NONE)


def pairs_at_work(
    model: Network, action: LearnedAction, dataset: Dataset, split: str = "test"
) -> bytes | None:
    """A PNG with lines x1, D(E(x1)), D(M E(x1)), x2 of a split's first pairs.

    None where the outputs are no pictures, or the split has no pairs.
    """
    views = dataset.views.get(split)
    if views is None or dataset.task != "reconstruction":
        return None
    source, device = dataset.sources[split], action.matrices.device
    rows = torch.arange(min(PAIRS, dataset.size(source)), device=device)
    table = torch.from_numpy(dataset.composition.copy()).to(device)
    a, g = views.elements[rows], views.pair_elements[rows]
    with torch.inference_mode():
        x1 = dataset.view(source, rows, a, views.draws[rows])
        x2 = dataset.view(source, rows, table[g, a], views.pair_draws[rows])
        z1 = model.eval().encode(x1)
        lines = [dataset.pictures(it) for it in (x1, model.head(z1), model.head(action(g, z1)), x2)]
    if any(line is None for line in lines):
        return None
    return contact_sheet([line for line in lines if line is not None])


def eigenvalues_by_step(
    steps: Sequence[int], eigenvalues: NDArray[Any], orders: Sequence[int]
) -> Figure:
    """Eight of the steps side by side; eigenvalues [steps, generators, d, 2]."""
    # Takes half a second to import, and is needed for a report alone.
    from matplotlib.figure import Figure

    wanted = np.unique(np.round(np.geomspace(1, len(steps), 8)).astype(int) - 1)
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey=True).flatten()
    angles = np.linspace(0, 2 * np.pi, 200)
    for place, n in zip(axes, wanted, strict=False):
        place.plot(np.cos(angles), np.sin(angles), color="0.7", linewidth=0.8)
        for g, (order, colour) in enumerate(zip(orders, COLOURS, strict=False)):
            tint = tuple(part / 255 for part in colour)
            roots = np.exp(2j * np.pi * np.arange(order) / order)
            place.plot(roots.real, roots.imag, "+", color=tint, markersize=9)
            shown = eigenvalues[n, g]
            place.plot(shown[:, 0], shown[:, 1], ".", color=tint, markersize=4, label="abcd"[g])
        place.set(
            title=f"step {steps[n]}", xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal",
            xticks=(-1, 0, 1), yticks=(-1, 0, 1),
        )  # fmt: skip
    for place in axes[len(wanted) :]:
        place.set_visible(False)
    if len(orders) > 1:
        axes[0].legend(loc="lower left", fontsize=7, title="generator", title_fontsize=7)
    return figure
