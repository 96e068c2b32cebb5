"""Volumes and fields through all five stages, as users run them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import spaces

sys.path.append(str(Path(__file__).parents[1] / "datasets"))
import volumes

pytestmark = pytest.mark.cluster

VOLUMES = """
published: table5
datasets:
  nodule: {builder: medmnist3d, flag: fracturemnist3d, group: octahedral, pool: 2}
  synapse: {builder: medmnist3d, flag: synapsemnist3d, group: octahedral, pool: 2}
columns:
  nodule: {dataset: nodule, split: test, metric: accuracy}
  synapse: {dataset: synapse, split: test, metric: accuracy}
  nodule AUC: {dataset: nodule, split: test, metric: auc}
rows:
  Majority: {model: majority}
  Ours:
    model: {resnet3d: {width: 1, latent: 24}}
    objective: regular_representation
    grid: {lr: [3e-3], lambda: [1]}
training: {epochs: 1, batch_size: 32}
seeds: {final: [0]}
"""

#: Few small flows; the first windows of a flow hold little yet.
FIELDS = """
datasets:
  smoke:
    builder: smoke
    group: C4
    grid: 12
    steps: 60
    simulations: 5
    train: [1, 2, 3, 4]
    domain: [5]
    starts: {train: [6, 20], val: [20, 24], future: [24, 28], domain: [10, 14]}
columns:
  future: {dataset: smoke, split: future, metric: rmse_20}
  domain: {dataset: smoke, split: domain, metric: rmse_20}
  future 6: {dataset: smoke, split: future, metric: rmse_6}
rows:
  Persistence: {model: persistence}
  CNN: {model: {field_cnn: {width: 8}}, objective: autoregressive, grid: {lr: [3e-3]}}
  CNN (augmented):
    model: {field_cnn: {width: 8}}
    objective: autoregressive_augmented
    grid: {lr: [3e-3]}
  MLP: {model: {field_mlp: {latent: 8}}, objective: autoregressive, grid: {lr: [3e-3]}}
  Ours:
    model: {field_cnn: {width: 8}}
    objective: autoregressive_regular_representation
    grid: {lr: [3e-3], lambda: [0.005]}
training:
  epochs: 3
  batch_size: 8
  weight_decay: 4e-4
  lr_decay: 0.95
  trend: {after: 2, window: 1}
  select: val_rmse_6
seeds: {final: [0, 1]}
"""


def _cells(workspace: Path, name: str) -> dict[tuple[str, str], dict[str, str]]:
    with (workspace / "tables" / name / "table.csv").open() as file:
        return {(line["row"], line["column"]): line for line in csv.DictReader(file)}


def test_volumes_end_with_a_table_and_a_set_that_is_missing_is_a_labelled_gap(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw"
    volumes.put(raw, "fracturemnist3d", volumes.made_up("fracturemnist3d"))
    (tmp_path / "v.yaml").write_text(VOLUMES)
    run = ("run", "v.yaml", "--in-process")
    environ = {"EQUIGRID_RAW_DIR": str(raw)}
    done = spaces.in_this_process(*run, folder=tmp_path, environ=environ, expect=3)
    place = str(raw / "medmnist3d" / "synapsemnist3d.npz")
    assert f"put it at {place}" in done.stdout
    cells = _cells(tmp_path / "workspace", "v")
    for row in ("Majority", "Ours"):
        assert cells[row, "synapse"]["gap"] == "raw data missing"
        assert cells[row, "synapse"]["mean"] == ""
        for column in ("nodule", "nodule AUC"):
            assert cells[row, column]["gap"] == ""
    table = (tmp_path / "workspace" / "tables" / "v" / "table.md").read_text()
    (note,) = [line for line in table.splitlines() if "No synapse, raw data missing" in line]
    assert place in note
    assert float(cells["Majority", "nodule AUC"]["mean"]) == 0.5
    # Boxes of a side by class: one epoch tells them apart.
    assert float(cells["Ours", "nodule AUC"]["mean"]) > 0.6
    # Accuracy and AUC come from one training.
    records = list((tmp_path / "workspace" / "records").iterdir())
    assert len(records) == 2
    # What only looks, or only writes the table, says the same; a plan is of everything.
    written = spaces.tables(tmp_path / "workspace", "v")
    for command in ("tables", "status", "verify", "report"):
        looked = spaces.in_this_process(
            command, "v.yaml", folder=tmp_path, environ=environ,
            expect=0 if command in ("report", "verify") else 3,
        )  # fmt: skip
        if command == "status":
            assert f"gap: synapse: medmnist3d/synapsemnist3d.npz is missing: put it at {place}" in (
                looked.stdout
            )
    assert spaces.tables(tmp_path / "workspace", "v") == written
    planned = spaces.in_this_process("plan", "v.yaml", folder=tmp_path, environ=environ)
    assert "Ours / synapse" in planned.stdout
    # Again: nothing runs, and the gap is still said.
    again = spaces.in_this_process(*run, folder=tmp_path, environ=environ, expect=3)
    assert "0 run now" in again.stdout


def test_fields_end_with_a_table_from_one_training_a_row_and_seed(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(FIELDS)
    spaces.in_this_process("run", "s.yaml", "--in-process", folder=tmp_path, drawn=True)
    workspace = tmp_path / "workspace"
    cells = _cells(workspace, "s")
    assert len(cells) == 5 * 3
    for (row, _), cell in cells.items():
        assert cell["gap"] == ""
        assert int(cell["n"]) == (1 if row == "Persistence" else 2)
    records = [json.loads(path.read_text()) for path in (workspace / "records").iterdir()]
    assert len(records) == 4 * 2 + 1
    for record in records:
        assert set(record["test"]) == {"future", "domain"}
        for scores in record["test"].values():
            frames = [scores[f"rmse_frame_{n:02}"] ** 2 for n in range(1, 21)]
            assert sum(frames) / 20 == pytest.approx(scores["rmse_20"] ** 2)
            assert sum(frames[:6]) / 6 == pytest.approx(scores["rmse_6"] ** 2)
    errors = [record["validation"].get("val_equivariance_error") for record in records]
    assert sum(error is not None for error in errors) == 4 * 2

    page = (workspace / "reports" / "s" / "index.html").read_text()
    assert '<h2 id="rollouts">Roll-outs</h2>' in page
    for heading in ("future: error by frame", "future: a window", "domain: a window"):
        assert heading in page
    for shown in ("truth, Persistence, CNN, CNN (augmented), MLP, Ours", "test rmse by frame"):
        assert shown in page.replace("Test rmse", "test rmse")
    verified = spaces.in_this_process("verify", "s.yaml", folder=tmp_path)
    assert "all match" in verified.stdout

    # Without the weights the window cannot be continued, and the page says so.
    for path in (workspace / "weights").iterdir():
        path.unlink()
    spaces.in_this_process("report", "s.yaml", "-o", "page", folder=tmp_path)
    page = (tmp_path / "page" / "index.html").read_text()
    assert "truth, Persistence." in page
