"""How numbers of a table are shown: digits, per cent, which deviation. Changes no number itself."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import pstdev, stdev
from typing import Literal

from equigrid.lookup import metric_entry, score_kind
from equigrid.metrics.direction import is_objectives_own, is_share


@dataclass(frozen=True)
class Style:
    """A search space's `table:` (equigrid.config.schema.TableSpec).

    decimals: of a column that says itself how many, whatever its metric.
    """

    digits: int = 3
    percent: bool = False
    deviation: Literal["population", "sample"] = "population"
    decimals: int | None = None

    def std(self, values: tuple[float, ...]) -> float | None:
        """None where it is not defined: of no value, a sample's of one."""
        if self.deviation == "sample":
            return stdev(values) if len(values) > 1 else None
        return pstdev(values) if values else None

    def in_percent(self, metric: str) -> bool:
        return self.percent and is_share(metric)

    def value(self, metric: str, number: float) -> str:
        """Digits after the point; of what may be tiny, one more significant digit."""
        if self.decimals is not None:
            return f"{number:.{self.decimals}f}"
        if self.in_percent(metric):
            return f"{100 * number:.{self.digits - 2}f}"
        if not _may_be_tiny(metric):
            return f"{number:.{self.digits}f}"
        if score_kind(metric) != metric:  # a count: what is left of rounding is nothing
            number = round(number, 9) + 0.0
        return f"{number:.{self.digits + 1}g}"

    def signed(self, metric: str, number: float) -> str:
        """A difference of scores, with its sign."""
        if self.decimals is not None:
            return f"{number:+.{self.decimals}f}"
        if self.in_percent(metric):
            return f"{100 * number:+.{self.digits - 2}f}"
        if metric and _may_be_tiny(metric):
            return f"{number:+.{max(1, self.digits - 1)}g}"
        return f"{number:+.{self.digits}f}"

    def published(self, metric: str, number: float, decimals: int) -> str:
        """With the digits that it was published with."""
        if self.in_percent(metric):
            return f"{100 * number:.{max(0, decimals - 2)}f}"
        return f"{number:.{decimals}f}"


#: As a search space has it that says nothing of it.
USUAL = Style()


def _may_be_tiny(metric: str) -> bool:
    return is_objectives_own(metric) or metric_entry(metric).may_be_tiny
