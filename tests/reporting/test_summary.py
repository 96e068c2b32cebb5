"""The sentences at the top of a report say what the tests allow, and the tables can be sorted."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from equigrid.reporting.comparison import compare, findings
from equigrid.reporting.summary import sentences
from equigrid.reporting.table import Cell, Table
from equigrid.reporting.verdicts import Published, Verdict

GOOD, SAME, BAD = (0.90, 0.91, 0.92), (0.89, 0.92, 0.90), (0.50, 0.51, 0.52)


def made(rows: dict[str, Sequence[float]], *, each_minus: bool = False, **changes: Any) -> Table:
    """A column of accuracies, its first row the reference."""
    cells = {
        (row, "C"): Cell("D", "test", "accuracy", tuple(values), len(values), "", {}, {}, 9,
                         Published(0.9, 0.01), tuple(range(len(values))))
        for row, values in rows.items()
    }  # fmt: skip
    table = Table("t", "T", tuple(rows), ("C",), frozenset(), {"C": True}, cells, (), **changes)
    first, *others = rows
    by_seed = {row: dict(enumerate(values)) for row, values in rows.items()}
    pairs = [(it, first) if each_minus else (first, it) for it in others]
    found = [compare(a, by_seed[a], b, by_seed[b], "C", len(rows[first])) for a, b in pairs]
    table = replace(table, comparisons=tuple(filter(None, found)), reference=first)
    return replace(table, outcomes=findings(table.comparisons, table.higher_is_better))


@pytest.mark.parametrize("each_minus", [False, True])
def test_better_and_worse_are_the_reference_rows_whichever_way_round(each_minus: bool) -> None:
    rows = {"Ours": GOOD, "CNN": SAME, "MLP": BAD, "Views": SAME}
    table = made(rows, each_minus=each_minus, controls={"Views": "Ours"})
    assert list(sentences(table)) == [
        "Nothing is tested against the published figures; the notes below say why.",
        "Ours against the other methods: better than MLP; not told apart in 1 of 2 comparisons.",
        "Ours against its controls: not told apart.",
    ]
    lower = replace(table, higher_is_better={"C": False})
    lower = replace(lower, outcomes=findings(lower.comparisons, lower.higher_is_better))
    assert "worse than MLP" in list(sentences(lower))[1]


def test_two_seeds_say_nothing_and_verdicts_are_counted() -> None:
    table = made({"Ours": (0.9, 0.91), "CNN": (0.1, 0.11)})
    verdicts = {("Ours", "C"): Verdict("agrees", 0.01, None), ("CNN", "C"): Verdict("below", 1, 0)}
    assert list(sentences(replace(table, verdicts=verdicts))) == [
        "Of 2 cells held against a published figure: 1 agree with it, 1 lie below it.",
        "Ours is compared with other methods, on too few seeds for a test.",
    ]


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_click_on_a_heading_sorts_by_value_and_what_has_none_goes_last(tmp_path: Path) -> None:
    script = resources.files("equigrid.reporting.page").joinpath("sort.js").read_text("utf-8")
    values = ("9 000", "– none", "34 329", "1.5e-07", "-0.2 [-1, 2]", "0.5")
    rows = "".join(f"<tr><td>{it}</td></tr>" for it in values)
    page = tmp_path / "page.html"
    page.write_text(
        f"<meta charset=utf-8><table><thead><tr><th>score</th></tr></thead><tbody>{rows}</tbody>"
        f"</table><script>{script}</script>"
        "<script>document.querySelector('th button').click()</script>",
        "utf-8",
    )
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", page.as_uri()],
        capture_output=True, check=True,
    )  # fmt: skip
    shown = done.stdout.decode()
    assert 'aria-sort="ascending"' in shown
    assert re.findall(r"<td>(.*?)</td>", shown) == [
        "-0.2 [-1, 2]", "1.5e-07", "0.5", "9 000", "34 329", "– none",
    ]  # fmt: skip
