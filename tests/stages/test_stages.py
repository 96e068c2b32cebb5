"""The stages, run as users run them: what is finished stays, what is missing is named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import pytest
import spaces
from mlflow.tracking import MlflowClient

from equigrid.commands.train import resolve, train_one
from equigrid.config.experiment import load_experiment
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial

pytestmark = pytest.mark.cluster

KEPT = ("data", "cache", "records", "weights", "tables", "artifacts")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.yaml` and its finished workspace: not to be changed."""
    return spaces.undisturbed(tmp_path_factory)


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    """The same, to be changed; its MLflow store is left behind."""
    shutil.copytree(done, tmp_path / "copy", ignore=shutil.ignore_patterns("mlflow.db*"))
    return tmp_path / "copy"


def cells(workspace: Path, name: str = "tiny") -> dict[tuple[str, str], dict[str, str]]:
    text = (workspace / "tables" / name / "table.csv").read_text()
    return {(line["row"], line["column"]): line for line in csv.DictReader(StringIO(text))}


def record(workspace: Path, key: str) -> dict[str, Any]:
    """A record but for its times and the state of the checkout."""
    content: dict[str, Any] = json.loads((workspace / "records" / f"{key}.json").read_text())
    for name in ("started", "epoch_seconds"):
        del content[name]
    del content["environment"]["git_commit"]
    return content


def test_mlflow_describes_the_table_and_lists_scores(done: Path) -> None:
    """What its pages show: descriptions, names that begin with the seed, a view with the scores."""
    client = MlflowClient(tracking_uri=f"sqlite:///{done / 'workspace' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    markdown = (done / "workspace" / "tables" / "tiny" / "table.md").read_text()
    assert experiment.tags["mlflow.note.content"].startswith(markdown[:400])
    view = json.loads(experiment.tags["mlflow.sharedViewState.scores"])
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    for column in view["selectedColumns"]:
        kind, name = column.replace("`", "").split(".")
        assert any(name in getattr(run.data, kind) for run in runs.values()), column
    assert runs["table"].data.tags["mlflow.note.content"].startswith(markdown[:400])
    told = runs["Ours / D1"].data.tags["mlflow.note.content"].splitlines()
    assert told[0] == next(it[2:] for it in markdown.splitlines() if it.startswith("- Ours / D1:"))
    assert told[1].startswith("- augmented: 0.")
    trials = [name for name, it in runs.items() if it.data.tags.get("role") in ("grid", "final")]
    assert trials
    assert all(name.startswith("seed ") for name in trials)


def test_a_run_ends_with_a_whole_table(done: Path) -> None:
    output = (done / "output.txt").read_text()
    for stage in ("data build", "augment cache", "grid", "final runs", "tables"):
        assert f"✓ {stage}" in output
    assert "4/4 finished, 4 run now" in output
    assert "5/5 finished, 5 run now" in output
    found = cells(done / "workspace")
    assert list(found) == [
        (row, column) for row in ("Chance", "CNN", "Ours") for column in ("augmented", "plain")
    ]
    for (row, column), cell in found.items():
        assert cell["gap"] == ""
        assert cell["n"] == cell["wanted"] == ("1" if row == "Chance" else "2")
        assert f"{float(cell['mean']):.3f}" in output
        assert cell["split"] == ("test" if column == "plain" else "test_augmented")
    folder = done / "workspace" / "tables" / "tiny"
    assert {path.name for path in folder.iterdir()} == {
        "table.md", "table.csv", "table.tex", "grid.csv", "comparisons.csv", "comparisons.tex",
        "latents.tex",
    }  # fmt: skip
    grid = list(csv.DictReader((folder / "grid.csv").open()))
    assert len(grid) == 4
    for row in ("CNN", "Ours"):
        # What was selected is the best on validation.
        best = max(
            (line for line in grid if line["row"] == row),
            key=lambda it: (float(it["val_accuracy"]), -float(it["lambda"] or 0), -float(it["lr"])),
        )
        assert found[row, "plain"]["lr"] == best["lr"]
        assert found[row, "plain"]["lambda"] == best["lambda"]


def test_a_second_run_does_nothing_and_changes_no_byte(done: Path) -> None:
    before = spaces.tree(done / "workspace", KEPT)
    again = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=done)
    assert "4/4 finished, 0 run now" in again.stdout
    assert "5/5 finished, 0 run now" in again.stdout
    assert spaces.tree(done / "workspace", KEPT) == before
    # Ray is not even started where there is nothing to run.
    with_ray = spaces.equigrid("run", "tiny.yaml", folder=done)
    assert "5/5 finished, 0 run now" in with_ray.stdout
    assert spaces.tree(done / "workspace", KEPT) == before


def test_a_plan_says_what_is_missing_and_touches_nothing(done: Path, tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    text = spaces.in_this_process("plan", "tiny.yaml", folder=tmp_path).stdout
    assert "6 cells, 4 grid and 5 final trials; 6 trainings missing" in text
    assert "at most" in text
    assert not (tmp_path / "workspace").exists()
    finished = spaces.in_this_process("plan", "tiny.yaml", folder=done).stdout
    assert "6 cells, 4 grid and 5 final trials; 0 trainings missing" in finished
    assert "nothing to train" in finished


def test_a_plan_after_an_edit_counts_the_new_trials(copy: Path) -> None:
    content = spaces.space(seeds={"grid": [0], "final": [0, 1, 2]})
    content["rows"]["Ours"]["grid"]["lambda"] = [0.5, 2, 5]
    spaces.write(copy / "tiny.yaml", content)
    text = spaces.in_this_process("plan", "tiny.yaml", folder=copy).stdout
    # One more λ; one more seed of CNN; of Ours as many seeds as its new selection may need.
    assert "6 cells, 5 grid and 7 final trials; 4 trainings missing" in text


def test_tables_are_assembled_again_from_records_alone(copy: Path, done: Path) -> None:
    shutil.rmtree(copy / "workspace" / "tables")
    text = spaces.in_this_process("tables", "tiny.yaml", folder=copy).stdout
    assert "written to" in text
    assert spaces.tree(copy / "workspace", ["tables"]) == spaces.tree(
        done / "workspace", ["tables"]
    )
    assert not (copy / "workspace" / "mlflow.db").exists()


def test_an_unfinished_table_is_shown_with_its_gaps(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    shown = spaces.in_this_process("tables", "tiny.yaml", folder=tmp_path, expect=3)
    assert "missing: 5 trials" in shown.stdout
    found = cells(tmp_path / "workspace")
    assert found["Ours", "plain"]["gap"] == "grid 0/2 done"
    assert found["Chance", "plain"]["gap"] == "0/1 seeds"


def test_train_gives_the_very_record_of_a_run(done: Path, tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    finals = [
        Trial.from_dict(json.loads(path.read_text())["trial"])
        for path in (done / "workspace" / "records").iterdir()
    ]
    ours = next(it for it in finals if it.row == "Ours" and it.seed == 1)
    point = ours.hyperparameters
    command = (
        "train", "tiny.yaml", "--row", "Ours", "--dataset", "D1", "--seed", 1, "--role", "final",
        "--set", f"lr={point['lr']}", "--set", f"lambda={point['lambda']}",
    )  # fmt: skip
    text = spaces.equigrid(*command, folder=tmp_path).stdout
    assert f"key {ours.key}" in text
    assert "epoch 3" in text
    here, there = tmp_path / "workspace", done / "workspace"
    assert record(here, ours.key) == record(there, ours.key)
    for split, scores in record(here, ours.key)["test"].items():
        assert f"{split}  " in text
        assert f"accuracy {scores['accuracy']:.4f}" in text
    assert spaces.tree(here, ("weights",)).items() <= spaces.tree(there, ("weights",)).items()
    assert not (here / "mlflow.db").exists()

    # The same from a file; what is finished is not trained again.
    file = tmp_path / "trial.json"
    file.write_text(json.dumps(ours.to_dict()))
    before = spaces.tree(here, ("records", "weights"))
    again = spaces.equigrid("train", "--trial", "trial.json", folder=tmp_path).stdout
    assert "epoch 1" not in again
    assert spaces.tree(here, ("records", "weights")) == before


def test_an_interrupted_train_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    long = spaces.write(
        tmp_path / "long.yaml", training={"epochs": 150, "batch_size": 8, "patience": 150}
    )
    options = ("--row", "CNN", "--dataset", "D1", "--set", "lr=0.003")
    process = spaces.start("train", "long.yaml", *options, folder=tmp_path)
    try:
        assert process.stdout is not None
        seen = [line for line in iter(process.stdout.readline, "") if line.startswith("epoch 5 ")
                and not process.send_signal(signal.SIGINT)]  # fmt: skip
        _, errors = process.communicate(timeout=spaces.PATIENCE)
    finally:
        spaces.end_session(process)
    assert len(seen) == 1
    assert process.returncode == 130
    assert errors.splitlines() == [
        "equigrid: ending; Ctrl-C again to end at once",
        "equigrid: interrupted; run the same command again to go on",
    ]
    trial = resolve(str(long), None, "CNN", "D1", ["lr=0.003"], 0, "grid")
    assert not (tmp_path / "workspace" / "records").exists()

    resumed = spaces.equigrid("train", "long.yaml", *options, folder=tmp_path).stdout
    assert "\nepoch 5 " not in resumed
    assert "\nepoch 150 " in resumed
    train_one(trial, Workspace(tmp_path / "undisturbed"))
    assert record(tmp_path / "workspace", trial.key) == record(tmp_path / "undisturbed", trial.key)


def test_records_from_elsewhere_make_the_same_table_without_training(
    done: Path, tmp_path: Path
) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    files = sorted((done / "workspace" / "records").iterdir())
    added = spaces.in_this_process("import", *files, folder=tmp_path)
    assert f"{len(files)} records added, 0 known already" in added.stdout
    run = spaces.equigrid("run", "tiny.yaml", folder=tmp_path)
    assert "4/4 finished, 0 run now" in run.stdout
    assert "5/5 finished, 0 run now" in run.stdout
    assert spaces.tables(tmp_path / "workspace") == spaces.tables(done / "workspace")
    before = spaces.tree(tmp_path / "workspace", ("records", "tables", "artifacts"))
    again = spaces.in_this_process("import", files[0], folder=tmp_path)
    assert "0 records added, 1 known already" in again.stdout
    assert spaces.tree(tmp_path / "workspace", ("records", "tables", "artifacts")) == before
    # And back from MLflow alone, where the records are lost.
    shutil.rmtree(tmp_path / "workspace" / "records")
    home = spaces.equigrid("run", "tiny.yaml", folder=tmp_path)
    assert "5/5 finished, 0 run now" in home.stdout
    assert spaces.tables(tmp_path / "workspace") == spaces.tables(done / "workspace")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data.update(key="0" * 64), id="another key"),
        pytest.param(lambda data: data["trial"].update(experiment="../../out"), id="outside"),
        pytest.param(lambda data: data["environment"].clear(), id="no environment"),
        pytest.param(lambda data: data.update(best_epoch=99), id="best epoch"),
    ],
)
def test_a_bad_record_is_refused_before_any_other_is_added(
    change: Any, done: Path, tmp_path: Path
) -> None:
    files = sorted((done / "workspace" / "records").iterdir())
    data = json.loads(files[0].read_text())
    change(data)
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    refused = spaces.in_this_process("import", *files[1:], bad, folder=tmp_path, expect=2)
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith(f"equigrid: {bad}: not a valid record")
    assert not (tmp_path / "workspace").exists()


FAULTY = '''
"""A model that works only when it is told to."""
from pathlib import Path
from equigrid.models.small_cnn import SmallCNN

class Faulty(SmallCNN):
    def forward(self, x):
        if self.training and not Path(__file__).with_name("mended").exists():
            with Path(__file__).with_name("attempts").open("a") as log:
                log.write(".")
            raise RuntimeError("cannot open [/data/50%_of_it]\\nsecond [line]")
        return super().forward(x)
'''


def test_a_failing_row_is_a_gap_until_it_is_mended(done: Path, tmp_path: Path) -> None:
    content = spaces.space()
    content["rows"]["Faulty"] = {
        "model": {"faulty:Faulty": {"width": 4}},
        "objective": "augmented",
        "grid": {"lr": [0.003, 0.01]},
    }
    spaces.write(tmp_path / "tiny.yaml", content)
    (tmp_path / "faulty.py").write_text(FAULTY)
    workspace, attempts = tmp_path / "workspace", tmp_path / "attempts"
    # What is finished elsewhere is brought along: only the new row is run.
    shutil.copytree(done / "workspace" / "records", workspace / "records")

    run = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=tmp_path, expect=3)
    assert len(attempts.read_text()) == 2 * 2  # two rates, one retry each
    assert "Traceback" not in run.stderr
    failed = [line for line in run.stdout.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert "Faulty / D1" in failed[0]
    assert "cannot open [/data/50%_of_it]" in failed[0]
    gap = "grid 0/2 done, 0/2 seeds, 2 failed"
    assert run.stdout.count(gap) == 2  # two columns, on the terminal
    found = cells(workspace)
    assert found["Faulty", "plain"]["gap"] == gap
    assert found["Faulty", "plain"]["mean"] == ""
    undisturbed = cells(done / "workspace")
    for cell, line in undisturbed.items():
        assert found[cell] == line
    markdown = (workspace / "tables" / "tiny" / "table.md").read_text()
    assert f"| Faulty | – | – {gap} | – {gap} |" in markdown
    assert r"Faulty & -- & -- & -- \\" in (workspace / "tables/tiny/table.tex").read_text()

    # Given up is given up, in the workspace and in MLflow alike.
    before = spaces.tables(workspace)
    again = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=tmp_path, expect=3)
    assert "0 run now" in again.stdout
    assert len(attempts.read_text()) == 4
    assert spaces.tables(workspace) == before
    spaces.in_this_process("tables", "tiny.yaml", "--from-mlflow", folder=tmp_path, expect=3)
    assert spaces.tables(workspace) == before

    (tmp_path / "mended").touch()
    mended = spaces.in_this_process(
        "run", "tiny.yaml", "--in-process", "--retry-failed", folder=tmp_path
    )
    assert "6/6 finished, 2 run now" in mended.stdout
    assert cells(workspace)["Faulty", "plain"]["n"] == "2"
    after = spaces.tables(workspace)
    spaces.in_this_process("tables", "tiny.yaml", "--from-mlflow", folder=tmp_path)
    assert spaces.tables(workspace) == after


MNIST = {"builder": "ddmnist", "source": "mnist", "group": "D1xD1", "digits": 2}


def with_mnist(*datasets: str) -> Mapping[str, Any]:
    known = {"D1": spaces.DATASET, "MNIST": MNIST}
    return spaces.space(
        datasets={name: known[name] for name in datasets},
        columns={
            name: {"dataset": name, "split": "test", "metric": "accuracy"} for name in datasets
        },
    )


def test_a_dataset_without_its_raw_files_is_a_gap_that_names_them(tmp_path: Path) -> None:
    spaces.write(tmp_path / "some.yaml", with_mnist("D1", "MNIST"))
    raw = tmp_path / "raw"
    done = spaces.in_this_process(
        "run", "some.yaml", "--in-process", folder=tmp_path, expect=3,
        environ={"EQUIGRID_RAW_DIR": str(raw)},
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("gap: MNIST: ")]
    assert str(raw / "mnist" / "train-images-idx3-ubyte.gz") in line
    assert "https://" in line
    found = cells(tmp_path / "workspace", "some")
    for row in ("Chance", "CNN", "Ours"):
        assert found[row, "D1"]["gap"] == ""
        assert found[row, "MNIST"]["gap"] == "raw data missing"
        assert found[row, "MNIST"]["mean"] == ""
    assert str(raw) in (tmp_path / "workspace" / "tables" / "some" / "table.md").read_text()


def test_no_dataset_at_all_is_an_error(tmp_path: Path) -> None:
    spaces.write(tmp_path / "none.yaml", with_mnist("MNIST"))
    raw = tmp_path / "raw"
    done = spaces.equigrid(
        "run", "none.yaml", "--in-process", folder=tmp_path, expect=2,
        environ={"EQUIGRID_RAW_DIR": str(raw)},
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last.startswith("equigrid: no dataset can be made: ")
    assert str(raw / "mnist" / "train-images-idx3-ubyte.gz") in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "workspace" / "tables").exists()


def test_a_damaged_cache_is_rebuilt_and_said_once(copy: Path, done: Path) -> None:
    for name, array in (("data", "train/digits"), ("cache", "action")):
        (path,) = (copy / "workspace" / name).glob("*.h5")
        with h5py.File(path) as file:
            place = file[array].id.get_offset()
        content = bytearray(path.read_bytes())
        content[place + 8] ^= 1
        path.write_bytes(content)
    text = spaces.equigrid("run", "tiny.yaml", "--in-process", folder=copy).stdout
    assert text.replace("\n", " ").count("building it again") == 2
    assert "5/5 finished, 0 run now" in text
    assert spaces.tables(copy / "workspace") == spaces.tables(done / "workspace")
    again = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=copy).stdout
    assert "building it again" not in again


def test_a_lost_record_is_run_again_with_the_same_result(copy: Path, done: Path) -> None:
    workspace = copy / "workspace"
    experiment = load_experiment(str(copy / "tiny.yaml"))
    assert experiment.full_name == "tiny"
    victim = next(
        path for path in sorted((workspace / "records").iterdir())
        if json.loads(path.read_text())["trial"]["row"] == "CNN"
    )  # fmt: skip
    os.truncate(victim, 100)
    (workspace / "weights" / f"{victim.stem}.safetensors").unlink()
    text = spaces.equigrid("run", "tiny.yaml", "--in-process", folder=copy).stdout
    assert "will run again" in text.replace("\n", " ")
    assert spaces.tables(workspace) == spaces.tables(done / "workspace")
    assert record(workspace, victim.stem) == record(done / "workspace", victim.stem)
