"""What would only fail after a long training is refused when the search space is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import spaces
import yaml

from equigrid.machine import cores

OWN = """
from equigrid.datasets.ddmnist import DDMNIST


class Metric(DDMNIST):
    metrics = ("accuracy", "f1")


class Task(DDMNIST):
    task = "segmentation"


class Silent:
    def __init__(self, hyperparameters): ...


class Named:
    def __init__(self, hyperparameters, *, name: str = "x"): ...
    def __call__(self, model, batch, task): ...


class Searching:
    searched = ("lr",)

    def __init__(self, hyperparameters): ...
    def __call__(self, model, batch, task): ...
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"published": "table9"},
            "published: 'table9'; allowed: table1, table2, table3, table4, table5, table6",
        ),
        ({"datasets": {"D1": {**spaces.DATASET, "builder": "own:Metric"}}},
         "own:Metric: unknown metric 'f1'"),
        ({"datasets": {"D1": {**spaces.DATASET, "builder": "own:Task"}}},
         "datasets.D1: own:Task: unknown task 'seg"),
        ({"datasets": {"D1": {**spaces.DATASET, "builder": "os:system"}}}, "is not a Builder"),
        ({"datasets": {"D1": {**spaces.DATASET, "group": "C99xC99"}}}, "C99xC99"),
        ({"datasets": {"D1": {**spaces.DATASET, "group": "C4xC4xC4xC4xC4xC4"}}}, "elements"),
        (
            {"rows": {"A": {"model": "os:system", "objective": "augmented", "grid": {"lr": [1]}}}},
            "is no class or function",
        ),
        (
            {"rows": {"A": {"model": "small_cnn", "objective": "own:Searching",
                            "grid": {"lr": [1]}}}},
            "which is the optimiser's",
        ),
        (
            {"rows": {"A": {"model": "small_cnn", "objective": "own:Silent", "grid": {"lr": [1]}}}},
            "'own:Silent' is never called with a batch: it lacks __call__",
        ),
        (
            {"rows": {"A": {"model": "small_cnn", "objective": "own:Named", "grid": {"lr": [1]}}}},
            "'own:Named' has a parameter 'name'",
        ),
        (
            {"datasets": {"D1": {"builder": "smoke", "group": "C4", "grid": 10**6}}},
            "datasets.D1.grid: 1000000",
        ),
        ({"seeds": {"grid": list(range(40_000))}}, "trials; at most 100000"),
        ({"rows": {"A": {"model": "small_cnn", "objective": "augmented",
                         "grid": {"lr": [1e-5 * n for n in range(1, 10_002)]}}}},
         "a grid of 10001 points"),
        ({"rows": {"A ": {"model": "majority"}}}, "'A ' is not a name"),
        ({"rows": {"A" * 65: {"model": "majority"}}}, "(65 characters) is not a name: 1 to 64"),
        ({"rows": {"A": {"model": f"own:{'x' * 65}"}}}, "module:object of at most 128 and 64"),
        ({"columns": {"a": {"dataset": "D1", "split": "test", "metric": f"{'o' * 129}:M"}}},
         "(131 characters) is not a name, or module:object of at most 128 and 64"),
        ({"datasets": {"D1": {"builder": "ddmnist", "group": "größe:C"}}},
         "'größe:C' is not a name"),
        ({"training": {"batch_size": 1000}}, "has 48 training samples"),
        ({"resources": {"cpu": 1e-9}}, "resources.cpu"),
    ],
)  # fmt: skip
def test_it_is_one_line(change: dict[str, object], said: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    spaces.write(tmp_path / "bad.yaml", **change)
    done = spaces.in_this_process("plan", "bad.yaml", folder=tmp_path, expect=2)
    assert said in done.stderr
    assert done.stderr.startswith("equigrid: bad.yaml:")
    assert len(done.stderr.splitlines()) == 1


def test_more_cores_than_there_are_is_refused_before_any_work(tmp_path: Path) -> None:
    spaces.write(tmp_path / "large.yaml", resources={"cpu": 4096})
    assert "wants 4096 CPUs" in spaces.in_this_process("plan", "large.yaml", folder=tmp_path).stdout
    done = spaces.in_this_process("run", "large.yaml", folder=tmp_path, expect=2)
    assert f"resources.cpu: a trial wants 4096 CPUs, this machine has {cores()} for us" in (
        done.stderr
    )
    assert not (tmp_path / "workspace" / "data").exists()


def test_more_memory_than_there_is_is_refused_before_any_work(tmp_path: Path) -> None:
    sizes = {"train": 1_000_000, "val": 1, "test": 1}
    data = {"digits": 10, "per_label": sizes, "artefacts": {"draws": 100_000}}
    spaces.write(tmp_path / "large.yaml", datasets={"D1": spaces.DATASET | data})
    said = spaces.in_this_process("plan", "large.yaml", folder=tmp_path).stdout
    assert "datasets.D1: it takes at least " in said
    done = spaces.in_this_process("run", "large.yaml", folder=tmp_path, expect=2)
    assert "large: datasets.D1: it takes at least " in done.stderr
    assert not (tmp_path / "workspace" / "data").exists()


def test_a_plan_says_where_the_rule_that_stops_trainings_never_will(tmp_path: Path) -> None:
    trend = {"epochs": 9, "batch_size": 20, "trend": {"after": 9, "window": 2}}
    spaces.write(tmp_path / "short.yaml", training=trend)
    said = spaces.in_this_process("plan", "short.yaml", folder=tmp_path).stdout
    assert "training.trend stops no training of " in said
    assert ": they have 9 epochs" in said


def test_a_plan_names_the_raw_files_that_a_run_will_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUIGRID_RAW_DIR", str(tmp_path / "raw"))
    said = spaces.in_this_process("plan", "medmnist3d", folder=tmp_path).stdout
    file = tmp_path / "raw" / "medmnist3d" / "nodulemnist3d.npz"
    assert f"{file} is not there: a run fetches it from https://" in said


def test_titles_are_plain_text_and_terminals_may_know_ascii_alone(tmp_path: Path) -> None:
    spaces.write(tmp_path / "odd.yaml", title="A [/red] title λ", notes=["[/bold] note"])
    content = yaml.safe_load((tmp_path / "odd.yaml").read_text())
    assert content["title"] == "A [/red] title λ"
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for command, code in (("run", 0), ("status", 0)):
        more = ("--in-process",) if command == "run" else ()
        done = spaces.equigrid(
            command, tmp_path / "odd.yaml", *more, folder=tmp_path, environ=ascii_only, expect=code
        )
        assert "A [/red] title lambda" in done.stdout
        assert "Traceback" not in done.stderr
    (tmp_path / "workspace" / "records").rename(tmp_path / "gone")
    (tmp_path / "workspace" / "mlflow.db").unlink()
    said = spaces.in_this_process("status", tmp_path / "odd.yaml", folder=tmp_path, expect=3).stdout
    assert f"equigrid run {tmp_path / 'odd.yaml'}" in said
