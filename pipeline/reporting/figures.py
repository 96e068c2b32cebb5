"""Figures of a table's finals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from statistics import fmean

from pipeline.record import Record


def validation_curves(
    finals: Mapping[tuple[str, str], Sequence[Record]], score: str, title: str
) -> bytes:
    """A PNG: `score` by epoch, one panel a dataset, a line a row (mean), a band from min to max.

    finals: records by (row, dataset). The same records give the same bytes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    datasets = list(dict.fromkeys(dataset for _, dataset in finals))
    rows = list(dict.fromkeys(row for row, _ in finals))
    figure = Figure(figsize=(1 + 3.6 * max(len(datasets), 1), 3.4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1, max(len(datasets), 1), sharey=True, squeeze=False)[0]
    for panel, dataset in zip(axes, datasets, strict=False):
        for colour, row in enumerate(rows):
            records = [record for record in finals.get((row, dataset), ()) if record.history]
            if not records:
                continue
            longest = max(len(record.history) for record in records)
            at = [
                [record.history[epoch][score] for record in records if epoch < len(record.history)]
                for epoch in range(longest)
            ]
            epochs = range(1, longest + 1)
            panel.plot(epochs, [fmean(v) for v in at], color=f"C{colour}", label=row)
            panel.fill_between(
                epochs, [min(v) for v in at], [max(v) for v in at], color=f"C{colour}", alpha=0.2
            )
        panel.set_title(dataset)
        panel.set_xlabel("epoch")
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right", fontsize="small")
    axes[0].set_ylabel(score.replace("_", " "))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
