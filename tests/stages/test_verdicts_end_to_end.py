"""Verdicts of a whole table: made-up records of the full-size setting, the command, its files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import spaces

from equigrid.config.experiment import load_experiment
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial

#: Five seeds about a mean: their population std is 0.002.
SPREAD = (-0.0028, -0.0014, 0.0, 0.0014, 0.0028)

#: What each cell's seeds average, beside the print, and what is to be said of it.
CELLS = {
    # As published, but (0.004) is too wide for the strictness that 18 cells ask of each.
    ("CNN", "C4"): (0.907, "undecided"),
    ("CNN", "D1"): (0.939, "undecided"),  # published 0.938, but with a spread of 0.006
    ("CNN", "D4"): (0.850, "above"),  # published 0.800
    ("Ours", "C4"): (0.921, "undecided"),  # published 0.915 (0.004)
    ("Ours", "D1"): (0.900, "below"),  # published 0.947
    # As published to the digit, but 5 000 test pairs that all seeds share move a mean by 0.005.
    ("Ours", "D4"): (0.868, "undecided"),
}
#: Of how many seeds their published values are is not known: taken as two, that decides little,
#: though 0.01 is far from all of them.
OTHERS = ("SCNN", "Restriction", "RPP", "PSCNN")


def fill(workspace: Workspace, profile: str, skip: int = 0) -> None:
    """A record of every trial; the last `skip` seeds of Ours / D4 stay missing."""
    experiment = load_experiment("ddmnist", profile)

    def save(trial: Trial, test: Any = None) -> None:
        spaces.made_up(trial, test).save(workspace.record_file(trial.key))

    for trial in Ledger(experiment, workspace).known().missing("grid"):
        save(trial)
    for trial in Ledger(experiment, workspace).known().missing("final"):
        seeds = len(experiment.seeds(trial.row, "final"))
        if (trial.row, trial.dataset) == ("Ours", "D4") and trial.seed >= seeds - skip:
            continue
        mean, _ = CELLS.get((trial.row, trial.dataset), (0.01, ""))
        score = mean + SPREAD[trial.seed]
        save(trial, {"test_augmented": {"accuracy": score}, "test": {"accuracy": score}})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    # Without the raw files a recipe has the official ones' hashes.
    monkeypatch.setenv("EQUIGRID_RAW_DIR", str(tmp_path / "nothing"))
    return Workspace(tmp_path / "workspace")


def table(workspace: Workspace, profile: str, expect: int = 0) -> tuple[dict[Any, Any], str]:
    spaces.in_this_process(
        "tables", "ddmnist", "--profile", profile, "--workspace", workspace.root,
        folder=workspace.root, expect=expect,
        environ={"EQUIGRID_RAW_DIR": str(workspace.root.parent / "nothing")},
    )  # fmt: skip
    folder = workspace.tables(f"ddmnist.{profile}")
    with (folder / "table.csv").open(newline="") as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    return cells, (folder / "table.md").read_text()


def test_every_cell_of_the_published_setting_gets_its_verdict(workspace: Workspace) -> None:
    fill(workspace, "optimum")
    cells, markdown = table(workspace, "optimum")
    assert {cell: line["verdict"] for cell, line in cells.items() if line["verdict"]} == {
        **{cell: word for cell, (_, word) in CELLS.items()},
        **{(row, column): "undecided" for row in OTHERS for column in ("C4", "D1", "D4")},
        ("SCNN", "D1"): "below",  # published 0.474 (0.003): the narrowest
    }
    for (row, column), (mean, word) in CELLS.items():
        assert float(cells[row, column]["mean"]) == pytest.approx(mean)
        assert cells[row, column]["published_n"] == "5"
        assert f"{float(cells[row, column]['difference']):+.3f} {word}" in markdown
    assert "p(1 − p)/N (N 5000) is added" in markdown
    # A column that the paper does not print has neither a difference nor a verdict.
    assert cells["Ours", "C4 plain"]["difference"] == ""
    # Seed by seed the same spread: the difference is certain to the last digit.
    assert "| Ours − CNN | +0.014 [+0.014, +0.014], n=5 ▲ |" in markdown


def test_an_incomplete_cell_gets_no_verdict_and_no_difference(workspace: Workspace) -> None:
    fill(workspace, "optimum", skip=2)
    cells, markdown = table(workspace, "optimum", expect=3)
    missing = cells["Ours", "D4"]
    assert (missing["n"], missing["wanted"], missing["verdict"], missing["difference"]) == (
        "3", "5", "", ""
    )  # fmt: skip
    assert "[3/5 seeds] 0.867 (0.001)" in markdown
    assert cells["CNN", "D4"]["verdict"] == "above"
    assert "[3/5 seeds]" in next(line for line in markdown.splitlines() if "Ours − CNN" in line)


def test_a_small_profile_gets_the_difference_and_never_a_verdict(workspace: Workspace) -> None:
    fill(workspace, "small")
    cells, markdown = table(workspace, "small")
    assert {line["verdict"] for line in cells.values()} == {""}
    assert float(cells["CNN", "D4"]["difference"]) == pytest.approx(0.05)
    assert "not the published setting: differences are shown, no verdicts" in markdown


def test_a_final_that_was_not_tested_on_every_split_is_a_gap_and_no_crash(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    experiment = load_experiment(str(spaces.write(tmp_path / "tiny.yaml")))
    for role in ("grid", "final"):
        for trial in Ledger(experiment, workspace).known().missing(role):
            tests = {"test": {"accuracy": 0.5}, "test_augmented": {"accuracy": 0.4}}
            if (trial.row, trial.seed) == ("Ours", 1):
                del tests["test"]
            record = spaces.made_up(trial, tests if role == "final" else None)
            record.save(workspace.record_file(trial.key))
    for command in (
        ("tables", "tiny.yaml"), ("status", "tiny.yaml"), ("show", "tiny.yaml", "Ours/plain"),
        ("report", "tiny.yaml"),
    ):  # fmt: skip
        text = spaces.in_this_process(*command, folder=tmp_path).stdout
        assert command[0] == "report" or "[1/2 seeds] 0.500" in text
    page = (workspace.report("tiny") / "index.html").read_text()
    assert "[1/2 seeds] 0.500" in page
