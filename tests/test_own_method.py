"""Everything of one's own, a file each: data, task, metrics, objective; through all that there is.

The example is examples/rings; it is shortened here.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import spaces
import yaml
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file

from equigrid.config.experiment import load_experiment
from equigrid.files import sha256
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.record import Record

EXAMPLE = Path(__file__).parents[1] / "examples" / "rings"
RUN = ("run", "rings.yaml", "--in-process")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run once."""
    folder = tmp_path_factory.mktemp("rings")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    change(folder, training={"epochs": 6})
    spaces.forked(*RUN, folder=folder)
    return folder


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "copy")
    return tmp_path / "copy"


def change(folder: Path, **parts: dict[str, object]) -> None:
    """Add to parts of the search space."""
    content = yaml.safe_load((folder / "rings.yaml").read_text())
    for name, values in parts.items():
        content[name] = {**content[name], **values}
    spaces.write(folder / "rings.yaml", content)


def finals(folder: Path, row: str) -> list[Record]:
    found = map(Record.load, sorted((folder / "workspace" / "records").glob("*.json")))
    return [it for it in found if it.trial.row == row and it.test is not None]


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_embed_finds_the_parts_beside_the_search_space(done: Path, tmp_path: Path) -> None:
    """From any folder."""
    run = finals(done, "Augmented")[0]
    np.savez(tmp_path / "new.npz", inputs=np.zeros((2, 1), np.float32))
    command = ("embed", run.key[:12], "new.npz", "--workspace", done / "workspace")
    said = spaces.forked(*command, folder=tmp_path, expect=2).stderr
    shape = [int(it) for it in said.rpartition("[n, ")[2].rstrip("]\n").split(", ")]
    np.savez(tmp_path / "new.npz", inputs=np.zeros((2, *shape), np.float32))
    assert "new.embedded.npz: z [2, " in spaces.forked(*command, folder=tmp_path).stdout


def test_the_table_has_its_metric_in_both_columns(done: Path) -> None:
    table = lines(done / "workspace" / "tables" / "rings" / "table.csv")
    assert [(it["row"], it["column"], it["n"]) for it in table] == [
        ("Augmented", "upright", "2"), ("Augmented", "turned", "2"),
        ("Learned", "upright", "2"), ("Learned", "turned", "2"),
    ]  # fmt: skip
    assert all(0 < float(it["mean"]) < 1 for it in table)
    assert {it["metric"] for it in table} == {"regression:MeanAbsoluteError"}
    shown = (done / "workspace" / "tables" / "rings" / "table.md").read_text("utf-8")
    for it in table:
        for seed, value in enumerate(it["values"].split()):
            (line,) = [
                x for x in shown.splitlines() if x.startswith(f"| {it['row']}, seed {seed} ")
            ]
            assert f"| {float(value):.3f} |" in line


def test_an_objective_learns_parameters_and_they_are_kept(done: Path) -> None:
    """M is 12 × 12, moves in training, and lies with the weights; the model's count is its own."""
    for record in finals(done, "Learned"):
        assert record.objective_parameters == 12 * 12
        assert record.parameters == 24 * 24 + 24 + 24 * 12 + 12 + 12 * 2 + 2
        weights = load_file(done / "workspace" / "weights" / f"{record.key}.safetensors")
        matrix = weights["objective/matrix"]
        assert matrix.shape == (12, 12)
        file = done / "workspace" / "files" / record.key / "matrix.csv"
        rows = [list(map(float, line.split(","))) for line in file.read_text().splitlines()]
        assert len(rows) == 12
        assert record.artifacts == {"matrix.csv": sha256(file.read_bytes())}
        # The best epoch's, as the weights are.
        np.testing.assert_allclose(rows, matrix, rtol=1e-6)
        assert {"train_mismatch", "train_algebra", "train_last_layer"} <= record.history[0].keys()
    for record in finals(done, "Augmented"):
        assert record.objective_parameters == 0
        assert "objective_parameters" not in json.loads(record.to_json())


def test_what_was_searched_reaches_models_optimisers_and_files(done: Path) -> None:
    grid = lines(done / "workspace" / "tables" / "rings" / "grid.csv")
    assert list(grid[0])[:8] == [
        "row", "dataset", "lr", "lambda", "beta", "weight_decay", "width", "seed",
    ]  # fmt: skip
    searched = {(it["row"], it["lambda"], it["weight_decay"], it["width"]) for it in grid}
    assert searched == {
        ("Augmented", "", "0.0", "12.0"), ("Augmented", "", "0.0", "24.0"),
        ("Augmented", "", "0.0001", "12.0"), ("Augmented", "", "0.0001", "24.0"),
        ("Learned", "0.1", "", "24.0"), ("Learned", "1.0", "", "24.0"),
    }  # fmt: skip
    for record in finals(done, "Augmented"):
        width = record.trial.hyperparameters["width"]
        assert record.trial.model["width"] == width
        assert isinstance(record.trial.model["width"], int)
        assert record.trial.training["weight_decay"] == record.trial.hyperparameters["weight_decay"]
        assert record.parameters == 24 * width + width + width * 12 + 12 + 12 * 2 + 2
        assert record.trial.training["optimizer"] == {"name": "adamw"}
    ledger = Ledger(load_experiment(str(done / "rings.yaml")), Workspace(done / "workspace"))
    assert {name for row in ledger.experiment.rows.values() for name in row.names} == {
        "lr", "weight_decay", "lambda", "beta", "width",
    }  # fmt: skip


def test_mlflow_has_what_was_searched_and_the_files(done: Path) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{done / 'workspace' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("rings")
    runs = client.search_runs([experiment.experiment_id], "tags.role = 'grid'")
    names = ("lr", "lambda", "beta", "weight_decay", "width")
    found = {tuple(run.data.params.get(name) for name in names) for run in runs}
    baseline = itertools.product(("0.0", "0.0001"), ("12.0", "24.0"))
    assert found == {
        *(("0.003", None, None, decay, width) for decay, width in baseline),
        *(("0.003", strength, "1.0", None, "24.0") for strength in ("0.1", "1.0")),
    }
    for run in client.search_runs([experiment.experiment_id], "tags.row = 'Learned'"):
        if run.data.tags["role"] in ("grid", "final"):
            kept = {it.path for it in client.list_artifacts(run.info.run_id)}
            assert kept == {"record.json", "matrix.csv"}


def test_its_report_has_a_panel_for_each_further_value(copy: Path) -> None:
    spaces.in_this_process("report", "rings.yaml", "-o", "report", folder=copy)
    page = (copy / "report" / "index.html").read_text("utf-8")
    assert "Rings" in page
    assert "width 24" in page
    assert "MeanAbsoluteError" in page
    assert "How the group came to act" in page
    assert "Learned: departure from a representation" in page
    assert "Learned, seed 1" in page
    assert len(list((copy / "report" / "figures").glob("objective-*.pdf"))) == 1


def test_it_verifies_replays_and_moves_to_another_workspace(copy: Path) -> None:
    said = spaces.in_this_process("verify", "rings.yaml", folder=copy).stdout
    assert "10 runs and 4 cells: all match" in said
    record = finals(copy, "Learned")[0]
    assert "bitwise equal" in spaces.in_this_process("replay", record.key, folder=copy).stdout
    spaces.in_this_process("export", "rings.yaml", "-o", "rings.equigrid", folder=copy)
    before = spaces.tables(copy / "workspace", "rings")
    there = ("--workspace", "elsewhere")
    spaces.in_this_process("import", "rings.equigrid", *there, folder=copy)
    for source in ((), ("--from-mlflow",)):
        spaces.in_this_process("tables", "rings.yaml", *source, *there, folder=copy)
        assert spaces.tables(copy / "elsewhere", "rings") == before


def test_a_metric_that_is_added_is_measured_on_the_weights_that_are_there(copy: Path) -> None:
    """A probe of the latent; MLflow has it too. Its code edited, it is measured again."""
    histories = {it.key: it.history for row in ("Learned", "Augmented") for it in finals(copy, row)}
    times = {key: (copy / "workspace" / "weights" / f"{key}.safetensors").stat().st_mtime_ns
             for key in histories}  # fmt: skip
    column = {"dataset": "C6", "split": "turned", "metric": "neighbours:NearestNeighbour"}
    change(copy, columns={"nearest": column})
    assert (
        "4 trials missing"
        in spaces.in_this_process("status", "rings.yaml", folder=copy, expect=3).stdout
    )
    said = spaces.in_this_process("plan", "rings.yaml", folder=copy).stdout
    assert "4 finals are tested on weights that are trained already" in said
    assert "nothing to train" in said
    spaces.forked(*RUN, folder=copy)
    after = {it.key: it for row in ("Learned", "Augmented") for it in finals(copy, row)}
    assert {key: it.history for key, it in after.items()} == histories
    for key, record in after.items():
        path = copy / "workspace" / "weights" / f"{key}.safetensors"
        assert path.stat().st_mtime_ns == times[key]
        assert record.test is not None
        assert record.test["turned"]["neighbours:NearestNeighbour"] > 0
    said = spaces.in_this_process("verify", "rings.yaml", folder=copy).stdout
    assert "10 runs and 6 cells: all match" in said

    source = (copy / "neighbours.py").read_text()
    edited = source.replace("argmin(1)", "argmax(1)")
    assert edited != source
    (copy / "neighbours.py").write_text(edited)
    said = spaces.forked("status", "rings.yaml", folder=copy, expect=3).stdout
    assert "4 trials missing" in said
    spaces.forked(*RUN, folder=copy)
    for row in ("Learned", "Augmented"):
        for record in finals(copy, row):
            worse = record.test["turned"]["neighbours:NearestNeighbour"]
            assert worse > after[record.key].test["turned"]["neighbours:NearestNeighbour"]
            assert record.history == histories[record.key]
    # As it was: scores that are lower again, of which MLflow would keep the higher as the latest.
    (copy / "neighbours.py").write_text(source)
    said = spaces.forked(*RUN, folder=copy).stdout
    assert "†" not in said
    assert "tracked with other" not in said
    said = spaces.in_this_process("verify", "rings.yaml", folder=copy).stdout
    assert "10 runs and 6 cells: all match" in said
