"""Every command that reads, on runs that equigrid itself tracked, through the door for strangers'.

The table is known there: it is the one that `tables --from-mlflow` gives.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import pytest
import spaces
import yaml

BUNDLE = Path(__file__).parents[2] / "results" / "quickstart.equigrid"

OWN = {
    "title": "Double digits, small",
    "runs": {
        "store": "sqlite:///tracked.db",
        "experiments": ["quickstart"],
        "row": "tags.row",
        "dataset": "tags.dataset",
        "seed": "tags.seed",
        "grid": {"tags.role": "grid"},
        "final": {"tags.role": "final"},
        "searched": ["params.lr", "params.lambda"],
        "select": {"metric": "val_accuracy", "mode": "max"},
    },
    "rows": {"Chance": {"name": "Chance", "seeds": [0]}}
    | {it: it for it in ("CNN (augmented)", "Ours", "Two views", "Scrambled action",
                         "Identity action")},
    "columns": {
        it: {"dataset": it, "metric": "test/test_augmented/accuracy", "higher_is_better": True}
        for it in ("C4", "D1")
    },
    "seeds": {"grid": [0], "final": [0, 1, 2, 3, 4]},
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tracked store, its table from MLflow, and a search space that reads it."""
    folder = tmp_path_factory.mktemp("own")
    spaces.in_this_process("import", BUNDLE, folder=folder)
    spaces.in_this_process("tables", "quickstart", "--from-mlflow", folder=folder)
    shutil.copy(folder / "workspace" / "mlflow.db", folder / "tracked.db")
    (folder / "own.yaml").write_text(yaml.safe_dump(OWN, sort_keys=False))
    return folder


def lines(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "workspace" / "tables" / name / "table.csv"
    return list(csv.DictReader(path.open(encoding="utf-8")))


SAME = ("row", "column", "dataset", "mean", "std", "n", "wanted", "gap", "standard_error", "lr",
        "lambda", "values")  # fmt: skip


def test_the_quickstarts_cells_equal_those_from_mlflow_to_the_byte(here: Path) -> None:
    before = hashlib.sha256((here / "tracked.db").read_bytes()).hexdigest()
    files = {path.name for path in here.iterdir()}
    done = spaces.in_this_process("tables", "own.yaml", folder=here)
    assert "Of 96 runs: 52 in a cell, 32 in the selection alone, 12 parent" in done.stdout
    own, known = lines(here, "own"), lines(here, "quickstart")
    assert [[it[name] for name in SAME] for it in own] == [[it[n] for n in SAME] for it in known]
    assert hashlib.sha256((here / "tracked.db").read_bytes()).hexdigest() == before
    assert {path.name for path in here.iterdir()} == files


def test_from_a_cell_to_its_runs_and_back(here: Path) -> None:
    cell = spaces.in_this_process("show", "own.yaml", "Ours/C4", folder=here).stdout
    assert "lr=0.003 λ=0.5 (selected)" in cell
    run = next(word for word in cell.split() if len(word) == 32 and word.isalnum())
    said = spaces.in_this_process("show", "own.yaml", run[:12], folder=here).stdout
    assert run in said
    assert "Ours/C4: 0." in said
    status = spaces.in_this_process("status", "own.yaml", folder=here).stdout
    assert "parent of other runs" in status


def test_verify_reads_again_and_names_what_changed(here: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(here, folder)
    spaces.in_this_process("tables", "own.yaml", folder=folder)
    done = spaces.in_this_process("verify", "own.yaml", folder=folder)
    assert "96 runs read again and 12 cells: all as written" in done.stdout
    import sqlite3

    with sqlite3.connect(folder / "tracked.db") as store:
        # One score in place: no status, no time of a run says that it changed.
        store.execute("UPDATE metrics SET value = 0.99 WHERE key = 'val_accuracy' AND step = 3")
    done = spaces.in_this_process("verify", "own.yaml", folder=folder, expect=1)
    assert "not as written" in done.stdout
    done = spaces.in_this_process("verify", "own.yaml", "--repair", folder=folder)
    assert "written anew" in done.stdout


def test_a_report_with_its_runs_and_curves(here: Path) -> None:
    spaces.in_this_process("report", "own.yaml", "-o", "page", folder=here)
    page = (here / "page" / "index.html").read_text("utf-8")
    assert page.count("in the selection alone") >= 32
    assert "equivariance" not in page.lower()
    assert "curves-c4" in {path.stem for path in (here / "page" / "figures").iterdir()}


def test_compare_lays_it_beside_the_experiment_itself(here: Path) -> None:
    done = spaces.in_this_process("compare", "own.yaml", "quickstart", folder=here)
    assert done.stdout.count("+0.000 [+0.000, +0.000], n=5") == 10


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "plan",
        "export -o x",
        "analyse",
        "submit --address http://127.0.0.1:9",
    ],
)
def test_what_trains_refuses_in_one_line(here: Path, command: str) -> None:
    name, *options = command.split()
    done = spaces.in_this_process(name, "own.yaml", *options, folder=here, expect=2)
    assert "own.yaml:2: runs: a table of runs that are tracked already" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_draft_that_one_line_of_ones_own_makes_a_table(here: Path) -> None:
    """It guesses what varies, and never which metric is a test."""
    store = ("--store", "sqlite:///tracked.db")
    said = spaces.in_this_process("draft", "quickstart", *store, "-o", "first.yaml", folder=here)
    assert "fill in what it calls CHOOSE" in said.stdout
    text = (here / "first.yaml").read_text("utf-8")
    assert 'row: "tags.row"  # ? 6 values' in text
    assert 'dataset: "tags.dataset"' in text
    assert 'seed: "params.seed"' in text
    assert '- "params.lambda"' in text
    assert '#   "test/test_augmented/accuracy" (52)' in text
    refused = spaces.in_this_process("tables", "first.yaml", folder=here, expect=2)
    assert "columns.C4.higher_is_better: 'CHOOSE'" in refused.stderr
    chosen = text.replace("metric: CHOOSE", "metric: test/test_augmented/accuracy")
    chosen = chosen.replace("higher_is_better: CHOOSE", "higher_is_better: true")
    for line in ("final: {tags.role: final}", "grid: {tags.role: grid}"):
        chosen = chosen.replace("  row:", f"  {line}\n  row:", 1)
    (here / "first.yaml").write_text(chosen)
    done = spaces.in_this_process("tables", "first.yaml", folder=here, expect=None)
    assert "0.840 (0.016), n=5" in done.stdout
    there = spaces.in_this_process("draft", "quickstart", "-o", "first.yaml", folder=here, expect=2)
    assert "is there already" in there.stderr
