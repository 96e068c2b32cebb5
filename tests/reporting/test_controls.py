"""Controls in a table: where they stand, what is compared, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import spaces

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.reporting.comparison import Comparison, compare
from equigrid.reporting.controls import control_notes, pairs, reference_of

CONTROLS = {
    "Two views": {"control_of": "Ours", "objective": "two_views"},
    "Scrambled": {
        "control_of": "Ours",
        "objective": {"regular_representation": {"action": "scrambled"}},
    },
}


def _space() -> dict[str, Any]:
    content = spaces.space(seeds={"grid": [0], "final": [0, 1, 2]})
    content["rows"]["Ours"] |= {"baseline": "CNN", "grid": {"lr": [0.003], "lambda": [2]}}
    content["rows"]["CNN"]["grid"] = {"lr": [0.003]}
    content["rows"] |= CONTROLS
    return content


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return load_experiment(str(spaces.write(tmp_path / "space.yaml", _space())))


def test_the_reference_is_compared_with_each_row_and_a_control_with_its_baseline(
    experiment: Experiment,
) -> None:
    assert reference_of(experiment) == "Ours"
    assert pairs(experiment) == [
        ("Ours", "CNN"), ("Ours", "Two views"), ("Ours", "Scrambled"),
        ("Two views", "CNN"), ("Scrambled", "CNN"),
    ]  # fmt: skip


def test_each_row_is_measured_by_a_reference_that_is_named(tmp_path: Path) -> None:
    """The sentences on controls need the other way round, and have it."""
    path = spaces.write(tmp_path / "space.yaml", _space() | {"reference": "CNN"})
    experiment = load_experiment(str(path))
    assert pairs(experiment)[:3] == [("Ours", "CNN"), ("Two views", "CNN"), ("Scrambled", "CNN")]
    path = spaces.write(tmp_path / "other.yaml", _space() | {"reference": "Ours"})
    experiment = load_experiment(str(path))
    assert pairs(experiment)[0] == ("CNN", "Ours")
    scores = {row: [0.7, 0.71, 0.7] for row in ("Ours", "Two_views", "Scrambled")}
    _, told = control_notes(experiment, _comparisons(experiment, CNN=[0.5, 0.51, 0.5], **scores))
    assert "Ours − CNN +0.200" in told


def _comparisons(experiment: Experiment, **scores: list[float]) -> tuple[Comparison, ...]:
    """Of three seeds in the column `plain`; rows' names without spaces."""
    by_row = {
        row: dict(enumerate(scores[row.replace(" ", "_")]))
        for row in experiment.rows
        if row != "Chance"
    }
    found = (compare(a, by_row[a], b, by_row[b], "plain", 3) for a, b in pairs(experiment))
    return tuple(comparison for comparison in found if comparison is not None)


def test_what_is_said_follows_from_the_intervals(experiment: Experiment) -> None:
    """Half of the gain by the second view; whether the action matters, three ways."""
    shared = {
        "CNN": [0.50, 0.51, 0.50],
        "Two_views": [0.60, 0.61, 0.60],
        "Ours": [0.70, 0.71, 0.70],
    }
    first, told = control_notes(
        experiment, _comparisons(experiment, **shared, Scrambled=[0.60, 0.61, 0.60])
    )
    assert "Two views has no penalty; Scrambled has the elements permuted" in first
    assert "At most 9 steps each; encoder passes a sample and step: CNN 1, Ours 2" in first
    assert told == (
        "plain: Ours − CNN +0.200 [+0.200, +0.200], n=3; the second view alone +0.100 [+0.100, "
        "+0.100], n=3, 50 % of it; the penalty on top of it +0.100 [+0.100, +0.100], n=3; Ours − "
        "Scrambled +0.100 [+0.100, +0.100], n=3; the group's own action does better than a wrong "
        "one."
    )
    for scrambled, verdict in (
        ([0.60, 0.85, 0.66], "the group's own action is not told apart from a wrong one."),
        ([0.80, 0.81, 0.80], "a wrong action does better than the group's own."),
    ):
        _, told = control_notes(experiment, _comparisons(experiment, **shared, Scrambled=scrambled))
        assert told.endswith(verdict)


def test_no_share_is_given_of_a_gain_that_is_not_established(experiment: Experiment) -> None:
    found = _comparisons(
        experiment,
        CNN=[0.5, 0.7, 0.6],
        Ours=[0.7, 0.6, 0.6],
        Two_views=[0.6, 0.7, 0.6],
        Scrambled=[0.6, 0.7, 0.6],
    )
    _, told = control_notes(experiment, found)
    assert "no established gain; the second view alone" in told
    assert "% of it" not in told
    assert told.count("(contains zero)") == 2


def test_nothing_is_said_of_two_seeds(experiment: Experiment) -> None:
    scores = {row: [0.5, 0.6] for row in ("CNN", "Ours", "Two_views", "Scrambled")}
    _, told = control_notes(experiment, _comparisons(experiment, **scores))
    assert told.endswith("seeds are missing or fewer than 3: nothing is said of the action.")


def test_a_table_shows_controls_below_their_method(tmp_path: Path) -> None:
    """In every format, with what was measured of their latents and the sentences."""
    content = _space()
    content["rows"]["CNN"], rows = content["rows"]["CNN"], content["rows"]
    content["rows"] = {"Scrambled": rows["Scrambled"], **rows}
    spaces.write(tmp_path / "tiny.yaml", content)
    spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=tmp_path, drawn=True)
    found = {name: it.decode() for name, it in spaces.tables(tmp_path / "workspace").items()}
    names = [line.split("|")[1].strip() for line in found["table.md"].splitlines() if "|" in line]
    assert names[2:7] == ["Chance", "CNN", "Ours", "↳ Scrambled", "↳ Two views"]
    head = "| Latents, D1 | equivariance error | means removed | without ρ | share fixed |"
    assert head in found["table.md"]
    assert "- plain: Ours − CNN " in found["table.md"]
    assert r"$\hookrightarrow$ Two views &" in found["table.tex"]
    assert ",Ours," in next(
        line for line in found["table.csv"].splitlines() if line.startswith("Two views,plain")
    )
    page = (tmp_path / "workspace" / "reports" / "tiny" / "index.html").read_text()
    assert "↳ Scrambled" in page
    assert "Latents, D1: how the group moves them" in page
    assert "not told apart" in page or "does better" in page
