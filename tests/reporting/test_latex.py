"""LaTeX that goes into a paper: numbers as math, marks that a test bears out, and TeX takes it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from equigrid.reporting import latex
from equigrid.reporting.comparison import compare, findings
from equigrid.reporting.ranking import ranking
from equigrid.reporting.style import Style
from equigrid.reporting.table import Cell, Table
from equigrid.reporting.verdicts import Published, Verdict

PREAMBLE = (
    r"\documentclass{article}\usepackage{booktabs, adjustbox, amssymb}"
    r"\begin{document}"
)
GOOD = (0.90, 0.91, 0.92)
SAME = (0.89, 0.92, 0.90)
BAD = (0.50, 0.51, 0.52)


def made(rows: dict[str, Sequence[float]], **changes: Any) -> Table:
    """A column of accuracies; a row of one score is not trained."""
    shown = {name: changes.pop(name) for name in ("style", "published", "gap") if name in changes}
    cells = {
        (row, "C_4"): Cell(
            "D", "test", "accuracy", tuple(values), 1 if len(values) == 1 else 3,
            shown.get("gap", "") if len(values) not in (1, 3) else "", {},
            {} if len(values) == 1 else {"equivariance_error": (2e-7, 3e-7)}, 33742,
            shown.get("published"), tuple(range(len(values))), style=shown.get("style", Style()),
        )
        for row, values in rows.items()
    }  # fmt: skip
    trivial = frozenset(row for row, values in rows.items() if len(values) == 1)
    table = Table(
        "a_b", "Tiny λ", tuple(rows), ("C_4",), trivial, {"C_4": True}, cells, ("a\nnote",),
        style=shown.get("style", Style()),
    )  # fmt: skip
    first, *others = [row for row in rows if row not in trivial]
    pairs = [
        compare(first, dict(enumerate(rows[first])), it, dict(enumerate(rows[it])), "C_4", 3,
                "accuracy", table.style)
        for it in others
    ]  # fmt: skip
    table = replace(table, comparisons=tuple(filter(None, pairs)), reference=first)
    outcomes = findings(table.against_reference(), table.higher_is_better)
    return replace(table, outcomes=outcomes, **changes)


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if " & " in line]


def test_the_best_is_bold_and_what_does_not_differ_from_it_is_underlined() -> None:
    table = made({"Chance": (0.1,), "Ours": GOOD, "CNN": SAME, "MLP": BAD})
    assert lines(latex.scores(table)) == [
        r"Method & Parameters & C\_4 $\uparrow$ \\",
        r"Chance & 33\,742 & $0.100$ \\",
        r"Ours & 33\,742 & $\mathbf{0.910 \pm 0.008}$ \\",
        r"CNN & 33\,742 & $\underline{0.903 \pm 0.012}$ \\",
        r"MLP & 33\,742 & $0.510 \pm 0.008$ \\",
    ]
    assert r"over $n = 3$ seeds. Bold: the best of a column; underlined: not" in latex.scores(table)
    lower = replace(table, higher_is_better={"C_4": False})
    assert ranking(lower).best == {("Chance", "C_4")}
    assert ranking(lower).level == frozenset()


def test_two_seeds_tell_nobody_apart() -> None:
    table = made({"Ours": (0.9, 0.91), "CNN": (0.1, 0.11)})
    two = {place: replace(cell, wanted=2) for place, cell in table.cells.items()}
    assert ranking(replace(table, cells=two)).level == {("CNN", "C_4")}


def test_what_is_missing_stands_first_and_is_never_bold() -> None:
    table = made({"Ours": GOOD, "CNN": (0.95, 0.96), "MLP": ()}, gap="[2/3 seeds] & more")
    _, ours, cnn, mlp = lines(latex.scores(table))
    assert r"\mathbf" not in cnn + mlp + ours
    assert cnn == r"CNN & 33\,742 & {[}{[}2/3 seeds] \& more] $0.955 \pm 0.005$ \\"
    assert mlp == r"MLP & 33\,742 & -- \\"


def test_digits_per_cent_and_deviation_are_the_search_spaces() -> None:
    style = Style(digits=3, percent=True, deviation="sample")
    published = Published(0.915, 0.004, 3, 5)
    text = latex.scores(made({"Ours": GOOD, "CNN": BAD}, style=style, published=published))
    assert r"$\mathbf{91.0 \pm 1.0}$" in text
    assert r"\quad published &  & $91.5 \pm 0.4$ \\" in text
    assert r"\quad difference &  & $-0.5$ \\" in text
    assert r"Test accuracy (\%): mean $\pm$ sample standard deviation" in text
    two = Style(digits=2)
    assert r"$0.51 \pm 0.01$" in latex.scores(made({"Ours": GOOD, "CNN": BAD}, style=two))


def test_paired_differences_and_latents_have_tables_of_their_own() -> None:
    table = made({"Ours": GOOD, "CNN": SAME, "MLP": BAD})
    assert lines(latex.comparisons(table)) == [
        r" & C\_4 $\uparrow$ \\",
        r"Ours $-$ CNN & $+0.007$ $[-0.031, +0.045]$ $\circ$ \\",
        r"Ours $-$ MLP & $+0.400$ $[+0.400, +0.400]$ $\blacktriangle$ \\",
    ]
    assert r"MLP & $2.5 \times 10^{-7}$ \\" in latex.latents(table)
    alone = made({"Ours": GOOD})
    assert latex.comparisons(alone) == ""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_tex_takes_whatever_a_table_may_hold(tmp_path: Path) -> None:
    odd = r"[50 % of a_b] & {c} #1 $x$ ~ ^ \ λ Ω × ρ * <é> |"
    table = made(
        {"Chance": (0.1,), odd: GOOD, "*": SAME, "[x": (0.9, 0.8), "MLP": ()},
        gap=odd, published=Published(0.92, 0.004), title=odd, name=odd, controls={"*": odd},
        notes=(odd,),
    )  # fmt: skip
    table = replace(table, verdicts={(odd, "C_4"): Verdict("agrees", 0.01, None)})
    parts = [latex.scores(table), latex.comparisons(table), latex.latents(table)]
    runs = replace(table, layout="runs", published_runs=({"C_4": 21.0},))
    (tmp_path / "all.tex").write_text(
        "\n".join([PREAMBLE, *parts, latex.scores(runs), r"\end{document}"]), "utf-8"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Overfull" not in said
