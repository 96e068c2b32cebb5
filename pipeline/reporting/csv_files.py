"""A table, its grids and its comparisons as CSV: numbers in full."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from equigrid.record import Result
from equigrid.reporting.table import LATENT_MEASURES, Table
from equigrid.trial import Trial, in_order

CSV_FIELDS = (
    "row", "column", "dataset", "split", "metric", "mean", "std", "n", "wanted", "gap",
    "standard_error", "margin_over_trivial", "published_mean", "published_std", "published_n",
    "difference", "verdict", "p_equivalence", "p_difference", "doubts",
    "lr", "lambda",
)  # fmt: skip
#: Behind them and any further searched values.
LAST_CSV_FIELDS = *LATENT_MEASURES, "control_of", "parameters", "values"


def _searched(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was searched: the learning rate and λ, whether or not, then all else."""
    names = in_order({name for point in points for name in point} - {"lr", "lambda"})
    return ["lr", "lambda", *names]


def comma_separated(table: Table) -> str:
    """One line a cell, numbers in full; std is the population's."""
    buffer = io.StringIO()
    searched = _searched(cell.point for cell in table.cells.values())
    fields = (*CSV_FIELDS, *searched[2:], *LAST_CSV_FIELDS)
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    for (row, column), cell in table.cells.items():
        published, verdict = cell.published, table.verdicts.get((row, column))
        entry: dict[str, object] = {
            "row": row,
            "column": column,
            "dataset": cell.dataset,
            "split": cell.split,
            "metric": cell.metric,
            "mean": cell.mean,
            "std": cell.std,
            "n": len(cell.values),
            "wanted": cell.wanted,
            "gap": cell.gap,
            "standard_error": cell.standard_error,
            "margin_over_trivial": table.margin(row, column),
            "published_mean": published.mean if published else None,
            "published_std": published.std if published else None,
            "published_n": published.seeds if published else None,
            "difference": cell.difference,
            "verdict": verdict.word if verdict else None,
            "p_equivalence": verdict.p_equivalence if verdict else None,
            "p_difference": verdict.p_difference if verdict else None,
            "doubts": "; ".join(cell.doubts),
            **{name: cell.point.get(name) for name in searched},
            **{name: sum(them) / len(them) for name, them in cell.latents.items()},
            "control_of": table.controls.get(row),
            "parameters": cell.parameters,
            "values": " ".join(map(repr, cell.values)),
        }
        writer.writerow({k: "" if v is None else v for k, v in entry.items()})
    return buffer.getvalue()


def grid_csv(score: str, trials: Iterable[tuple[Trial, Result | None]]) -> str:
    """One line a grid trial: its point, validation score and relative equivariance error."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    trials = list(trials)
    searched = _searched(trial.hyperparameters for trial, _ in trials)
    writer.writerow(("row", "dataset", *searched, "seed", score, "equivariance_error", "key"))
    for trial, result in trials:
        validation = result.validation if result else {}
        point = trial.hyperparameters
        writer.writerow((
            trial.row, trial.dataset, *(point.get(name, "") for name in searched), trial.seed,
            validation.get(score, ""), validation.get("val_equivariance_error", ""), trial.key,
        ))  # fmt: skip
    return buffer.getvalue()


def comparison_csv(table: Table) -> str:
    """One line a pair of methods and column, numbers in full; p of the paired t-test.

    p_holm, outcome: of pairs with the reference row, adjusted over those of the whole table.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("minuend", "subtrahend", "column", "mean", "low", "high", "n", "wanted",
                     "p", "p_holm", "outcome"))  # fmt: skip
    for c in table.comparisons:
        found = table.outcomes.get(c.place)
        line = (
            c.minuend, c.subtrahend, c.column, c.mean, c.low, c.high, c.n, c.wanted, c.p,
            found.p if found else None, found.word if found else None,
        )  # fmt: skip
        writer.writerow(["" if it is None else it for it in line])
    return buffer.getvalue()
