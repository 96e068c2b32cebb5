"""What a user is told of a table: what is missing, where a figure comes from, what does not match.

One finished workspace is copied, damaged as people and machines damage such things, and mended.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import spaces
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from equigrid.config.experiment import load_experiment
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Failure, Workspace
from equigrid.trial import Trial

pytestmark = pytest.mark.cluster


@pytest.fixture
def copy(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A folder with `tiny.yaml` and a finished workspace, to be changed."""
    shutil.copytree(spaces.undisturbed(tmp_path_factory), tmp_path / "copy")
    return tmp_path / "copy"


def finals(folder: Path, row: str = "Ours") -> list[Trial]:
    experiment = load_experiment(str(folder / "tiny.yaml"))
    plan = Ledger(experiment, Workspace(folder / "workspace")).known()
    return list(plan.finals[row, "D1"])


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder / 'workspace' / 'mlflow.db'}")


def run_of(folder: Path, trial: Trial) -> Run:
    store = client(folder)
    experiment = store.get_experiment_by_name("tiny")
    query = f"tags.run_key = '{trial.key}' and tags.role = '{trial.role}'"
    (run,) = store.search_runs([experiment.experiment_id], query)
    return run


def delete_run(folder: Path, trial: Trial) -> None:
    client(folder).delete_run(run_of(folder, trial).info.run_id)


def alter_run(folder: Path, trial: Trial) -> str:
    run = run_of(folder, trial)
    client(folder).log_metric(run.info.run_id, "test/test/accuracy", 0.123, step=1000)
    return str(run.info.run_id)


def test_the_status_of_a_whole_table(copy: Path) -> None:
    text = spaces.in_this_process("status", "tiny.yaml", folder=copy).stdout
    assert text.splitlines()[-1] == "complete"
    for row in ("Chance", "CNN", "Ours"):
        for column in ("augmented", "plain"):
            assert f"{row} / {column}" in text
    # Watching what is complete ends at once.
    spaces.in_this_process("status", "tiny.yaml", "--watch", folder=copy)


def test_the_status_names_what_is_missing_and_what_failed(copy: Path) -> None:
    workspace = Workspace(copy / "workspace")
    second = finals(copy)[1]
    (copy / "workspace" / "mlflow.db").unlink()
    workspace.record_file(second.key).unlink()
    workspace.quarantine(Failure(second, "it broke on [/purpose]", "Traceback …", 3))
    text = spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3).stdout
    assert "1/2, 1 failed" in text
    assert f"failed: {second.describe()}: it broke on [/purpose]" in text
    assert "--retry-failed" in text
    workspace.release(second.key)
    text = spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3).stdout
    assert "1/2, 1 missing" in text
    assert "[1/2 seeds]" in text
    assert "no run of tiny is tracked in MLflow: equigrid run tiny.yaml sends them" in text


def test_only_a_cell_is_filled(tmp_path: Path) -> None:
    """With the data of its dataset alone: those of another one may take hours to make."""
    content = spaces.space()
    content["datasets"]["C4"] = spaces.DATASET | {"group": "C4xC4", "digits": 3}
    content["columns"]["turned"] = {"dataset": "C4", "split": "test", "metric": "accuracy"}
    content["rows"]["Ours"]["model"] = {"small_cnn": {"width": 4, "latent": 16}}
    spaces.write(tmp_path / "tiny.yaml", content)
    only = ("run", "tiny.yaml", "--in-process", "--only")
    spaces.in_this_process(*only, "CNN/plain", folder=tmp_path)
    assert len(list((tmp_path / "workspace" / "data").glob("*.h5"))) == 1
    text = spaces.in_this_process("status", "tiny.yaml", folder=tmp_path, expect=3).stdout
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if "│" in line}
    # Both columns of the row are fed by the same trainings.
    assert "2/2" in lines["CNN / plain"]
    assert "n=2" in lines["CNN / augmented"]
    assert "0/2, 2 missing" in lines["Ours / plain"]
    assert "0/1, 1 missing" in lines["Chance / plain"]
    assert "0/2" in lines["CNN / turned"]
    refused = spaces.in_this_process(*only, "Their/plain", folder=tmp_path, expect=2)
    assert "no row 'Their'; there are: Chance, CNN, Ours" in refused.stderr
    refused = spaces.in_this_process(*only, "Ours", folder=tmp_path, expect=2)
    assert "no column ''; there are: augmented, plain, turned" in refused.stderr


def test_what_was_deleted_or_altered_in_mlflow_is_named_and_mended(copy: Path) -> None:
    spaces.in_this_process("tables", "tiny.yaml", folder=copy)
    before = spaces.tables(copy / "workspace")
    missing, altered = finals(copy)
    delete_run(copy, missing)
    run_id = alter_run(copy, altered)

    text = spaces.in_this_process("status", "tiny.yaml", folder=copy).stdout
    assert f"seed {missing.seed} (final): recorded, not tracked" in text
    assert f"seed {altered.seed} (final): tracked with other test than recorded" in text
    found = spaces.in_this_process("verify", "tiny.yaml", folder=copy, expect=1).stdout
    assert f"run {run_id}" in found
    assert "test/test/accuracy is 0.123, recorded 0." in found
    assert f"{missing.describe()}: recorded, not tracked" in found
    assert "8 runs and 6 cells: 2 do not match" in found
    spaces.in_this_process("tables", "tiny.yaml", folder=copy)
    marked = spaces.tables(copy / "workspace")["table.md"].decode()
    assert marked.count("n=2 †") == 2  # both columns of the row
    assert marked.count("- † ") == 2

    # Sent again from its record: nothing is trained.
    again = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=copy).stdout
    assert "5/5 finished, 0 run now" in again
    assert "recorded, not tracked" not in again
    mended = spaces.in_this_process("verify", "tiny.yaml", "--repair", folder=copy).stdout
    assert "1 runs written anew" in mended
    assert "9 runs and 6 cells: all match" in mended
    assert spaces.tables(copy / "workspace") == before
    assert run_of(copy, altered).info.run_id != run_id


def test_a_run_lost_with_its_record_is_trained_again_to_the_same_bytes(copy: Path) -> None:
    spaces.in_this_process("tables", "tiny.yaml", folder=copy)
    before = spaces.tables(copy / "workspace")
    lost = finals(copy)[1]
    delete_run(copy, lost)
    workspace = Workspace(copy / "workspace")
    workspace.record_file(lost.key).unlink()
    workspace.weights_file(lost.key).unlink()
    spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3)
    again = spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=copy).stdout
    assert "5/5 finished, 1 run now" in again
    assert spaces.tables(copy / "workspace") == before
    assert "all match" in spaces.in_this_process("verify", "tiny.yaml", folder=copy).stdout


def test_what_nobody_would_notice_verify_does(copy: Path) -> None:
    # A figure typed into the table, and a run that claims other data.
    table = copy / "workspace" / "tables" / "tiny" / "table.csv"
    lines = table.read_text().splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("Ours,plain,")]
    fields = lines[at].split(",")
    fields[5] = "0.999"
    lines[at] = ",".join(fields)
    table.write_text("\n".join(lines) + "\n")
    run = run_of(copy, finals(copy)[1])
    client(copy).set_tag(run.info.run_id, "data_sha256", "0" * 64)
    text = spaces.in_this_process("verify", "tiny.yaml", folder=copy, expect=1).stdout
    assert "cell Ours/plain: table.csv has mean '0.999', the runs give" in text
    assert f"run {run.info.run_id}" in text
    assert f"data_sha256 is {'0' * 64}" in text
    assert "2 do not match" in text


def test_from_a_cell_to_its_runs_and_back(copy: Path) -> None:
    text = spaces.in_this_process("show", "tiny.yaml", "Ours/plain", folder=copy).stdout
    trials = finals(copy)
    for trial in trials:
        assert trial.key[:12] in text
        assert run_of(copy, trial).info.run_id in text
    record = Workspace(copy / "workspace").record(trials[0].key)
    assert record is not None
    assert record.data_sha256 in text
    assert record.environment["git_commit"] in text
    assert '"regular_representation"' in text
    by_key = spaces.in_this_process("show", "tiny.yaml", trials[1].key[:10], folder=copy).stdout
    run_id = run_of(copy, trials[1]).info.run_id
    by_run = spaces.in_this_process("show", "tiny.yaml", run_id, folder=copy).stdout
    assert by_key == by_run
    assert "feeds Ours/augmented, Ours/plain as seed 1" in by_key
    nothing = spaces.in_this_process("show", "tiny.yaml", "abcdef123456", folder=copy, expect=2)
    assert "no run or run key of tiny begins with this" in nothing.stderr


def test_a_run_is_replayed_from_its_record_bit_for_bit(copy: Path) -> None:
    for trial in (*finals(copy), finals(copy, "Chance")[0]):
        text = spaces.in_this_process("replay", trial.key[:12], folder=copy).stdout
        assert text.splitlines()[-1] == "bitwise equal"
    run_id = run_of(copy, trial).info.run_id
    assert "bitwise equal" in spaces.in_this_process("replay", run_id, folder=copy).stdout

    # A record whose score was touched up is found out.
    trial = finals(copy)[1]
    path = Workspace(copy / "workspace").record_file(trial.key)
    record = Workspace(copy / "workspace").record(trial.key)
    assert record is not None
    assert record.test is not None
    value = record.test["test"]["accuracy"]
    path.write_text(path.read_text().replace(f'"accuracy": {value!r}', '"accuracy": 0.999'))
    text = spaces.in_this_process("replay", trial.key, folder=copy, expect=1).stdout
    assert f"test/accuracy was 0.999, is {value!r}" in text


def test_another_instruction_set_is_another_stack(copy: Path) -> None:
    """The processor's name does not tell it, nor does a record from before it was kept."""
    key = finals(copy)[0].key
    path = Workspace(copy / "workspace").record_file(key)
    there = json.loads(path.read_text())["environment"]
    assert there["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    other = {"ATEN_CPU_CAPABILITY": "default"}
    text = spaces.equigrid("replay", key, folder=copy, expect=None, environ=other).stdout
    assert ", is ATEN_CPU_CAPABILITY=default" in text
    if there["cpu_capability"] != "DEFAULT":
        assert f"environment: cpu_capability was {there['cpu_capability']}, is DEFAULT" in text
        assert "bitwise equal\n" not in text
        assert "not bitwise equal, on another stack" in text

    data = json.loads(path.read_text())
    for name in ("cpu_capability", "instruction_sets"):
        del data["environment"][name]
    path.write_text(json.dumps(data))
    text = spaces.in_this_process("replay", key, folder=copy).stdout
    assert "environment: the record does not tell cpu_capability, here it is " in text
    assert text.splitlines()[-1] == "bitwise equal"
    data["test"]["test"]["loss"] += 1e-6
    path.write_text(json.dumps(data))
    text = spaces.in_this_process("replay", key, folder=copy).stdout
    assert "the record does not tell whether on the same stack (cpu_capability)" in text
    assert "on another stack;" not in text


def test_weights_that_are_not_those_of_the_record_are_found(copy: Path) -> None:
    """A flipped bit; of deleted ones it is said that they are not here."""
    done = spaces.in_this_process("verify", "tiny.yaml", folder=copy)
    assert "all match; weights of 6 trainings read" in done.stdout
    first, second, *_ = sorted((copy / "workspace" / "weights").iterdir())
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.unlink()
    done = spaces.in_this_process("verify", "tiny.yaml", folder=copy, expect=1)
    assert f"({first}): SHA-256 is " in done.stdout.replace("\n", "")
    assert "1 do not match; weights of 5 trainings read" in done.stdout
    assert ", of 1 not here" in done.stdout


def test_what_is_in_training_is_shown_with_its_epoch_score_and_time_left(copy: Path) -> None:
    content = spaces.space(seeds={"grid": [0], "final": [0, 1, 2]})
    spaces.write(copy / "tiny.yaml", content)
    workspace = Workspace(copy / "workspace")
    plan = Ledger(load_experiment(str(copy / "tiny.yaml")), workspace).known()
    trial = plan.missing("final")[0]
    journal = workspace.journal_file(trial.key)
    journal.parent.mkdir(parents=True)
    with workspace.claim(trial.key):
        text = spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3).stdout
        assert f"running: {trial.describe()}: in epoch 1 of 3\n" in text
        lines = [{"epoch": n, "seconds": 60.0, "val_accuracy": s} for n, s in ((1, 0.5), (2, 0.4))]
        # The third line is being written.
        journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"epoch": 3, "se')
        text = spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3).stdout
        progress = "epoch 2 of 3, val_accuracy 0.4000 (best 0.5000), at most 1 min 00 s left"
        assert f"running: {trial.describe()}: {progress}\n" in text
    text = spaces.in_this_process("status", "tiny.yaml", folder=copy, expect=3).stdout
    assert "running" not in text


def test_a_row_alone_is_told_its_cells_and_no_more(copy: Path) -> None:
    done = spaces.in_this_process("show", "tiny.yaml", "Ours", folder=copy, expect=2)
    assert done.stderr == ("equigrid: 'Ours' is a row; its cells are: Ours/augmented, Ours/plain\n")


def test_what_cannot_be_shown_is_refused_with_what_can(copy: Path) -> None:
    for what, says in (
        ("Theirs", "'Theirs' is neither ROW/COLUMN nor a run"),
        ("0123456789ab", "no run or run key of tiny begins with this"),
    ):
        done = spaces.in_this_process("show", "tiny.yaml", what, folder=copy, expect=2)
        assert says in done.stderr
        key = next((copy / "workspace" / "records").glob("*.json")).stem
        assert "runs: " in done.stderr
        assert f"{key[:12]} (" in done.stderr
        assert len(done.stderr.splitlines()) == 1
