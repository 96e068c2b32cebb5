"""Damaged files and stores: one line with file and line or key, exit code 2, nothing written."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spaces
import yaml

Space = dict[str, Any]

CSV: Space = {
    "runs": {
        "csv": "runs.csv", "row": "model", "seed": "seed", "searched": ["lr"],
        "select": {"metric": "val", "mode": "max"},
    },
    "columns": {"T": {"metric": "test", "higher_is_better": True}},
}  # fmt: skip
LINES = "model,lr,seed,val,test\na,0.1,0,0.5,0.6\na,0.2,0,0.4,0.7\nb,0.1,0,0.5,0.6\n"


def changed(**places: Any) -> Space:
    """The sound space with values at dotted places; None takes one away."""
    space = copy.deepcopy(CSV)
    for place, value in places.items():
        *path, last = place.split("__")
        at = space
        for part in path:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return space


#: What is changed, and what the one line says.
FILES: list[tuple[Space, str]] = [
    (changed(runs={}), "x.yaml:1: runs.row: Field required"),
    (changed(runs=[]), "runs: []: expected a mapping"),
    (changed(runs=None), "Field required"),
    (changed(runs__row=None), "runs.row: Field required"),
    (changed(runs__row=3), "runs.row"),
    (changed(runs__row="modle"), "no column 'modle'; there are: model, lr, seed, val, test"),
    (changed(runs__row=[]), "runs.row"),
    (changed(runs__row={"key": "model", "pattern": "("}), "runs.row.pattern: '('"),
    (changed(runs__row={"key": "model", "pattern": "a"}), "has 0 groups; expected one"),
    (changed(runs__row={"key": "model", "pattern": "(x)(y)"}), "has 2 groups"),
    (changed(runs__row={"key": "model", "pattern": "(zzz)"}), "no run has a row; 3 without model"),
    (changed(runs__row={"keys": "model"}), "unknown key 'keys'; allowed: key, pattern"),
    (changed(runs__seed="sede"), "no column 'sede'"),
    (changed(runs__seed=True), "runs.seed"),
    (changed(runs__searched=["lr", "lr"]), "'lr' is given twice"),
    (changed(runs__searched="lr"), "runs.searched"),
    (changed(runs__select=None), "runs.searched: needs `select`"),
    (changed(runs__select__mode="higher"), "runs.select.mode: 'higher'"),
    (changed(runs__select__mode=None), "runs.select.mode: Field required"),
    (changed(runs__select__at="first"), "runs.select.at: 'first'"),
    (changed(runs__select__metric="vla"), "no column 'vla'"),
    (changed(runs__select__metric="test"), "runs.select.metric: 'test' is column 'T'"),
    (changed(runs__select__metric="model"), "model 'a' is no number"),
    (changed(runs__scores_at="best"), "runs.scores_at: 'best'"),
    (changed(runs__statuses=["DONE"]), "runs.statuses.0: 'DONE'"),
    (changed(runs__statuses=[]), "runs.statuses"),
    (changed(runs__statuses=["FAILED"]), "no run that counts"),
    (changed(runs__duplicates="oldest"), "runs.duplicates: 'oldest'"),
    (changed(runs__others="drop"), "runs.others: 'drop'"),
    (changed(runs__incomplete=True), "runs.incomplete: True"),
    (changed(runs__missing={"dropout": 0}), "runs.missing.dropout: 'dropout' is not among"),
    (changed(runs__only=["a"]), "runs.only: ['a']: expected a mapping"),
    (changed(runs__only={"model": []}), "runs.only.model"),
    (changed(runs__only={"phase": "x"}), "no column 'phase'"),
    (changed(runs__csv="none.csv"), "x.yaml:2: runs: none.csv: cannot be read"),
    (changed(runs__csv="."), "cannot be read"),
    (changed(runs__store="sqlite:///x.db"), "runs.store: store is of MLflow, csv of a file"),
    (changed(runs__experiments=["a"]), "runs.experiments: experiments are of MLflow"),
    (changed(runs__filter="x"), "runs.filter: filter is of MLflow"),
    (changed(runs__wandb="x"), "runs.wandb: unknown key 'wandb'"),
    (changed(columns={}), "columns"),
    (changed(columns=None), "columns: Field required"),
    (changed(columns__T__metric="tset"), "no column 'tset'"),
    (changed(columns__T__metric=None), "columns.T.metric: Field required"),
    (changed(columns__T__higher_is_better=None), "columns.T.higher_is_better: Field required"),
    (changed(columns__T__higher_is_better="yes"), "columns.T.higher_is_better: 'yes'"),
    (changed(columns__T__margin=-1), "columns.T.margin: -1"),
    (changed(columns__T__decimals=99), "columns.T.decimals: 99"),
    (changed(columns__T__dataset="x"), "columns.T.dataset: runs have no `dataset` key"),
    (changed(columns__U={"metric": "test", "higher_is_better": True}), "the same cell as column"),
    (changed(columns={"[red]T": {"metric": "test", "higher_is_better": True}}), "is not a name"),
    (changed(runs__dataset="lr"), "columns.T.dataset: Field required"),
    (changed(rows={}), "rows"),
    (changed(rows={"a": 3}), "rows.a"),
    (changed(rows={"a": "A", "b": "A"}), "rows.b: 'A' is the name of two rows"),
    (changed(rows={"a": {"name": "A", "seeds": [0, 0]}}), "rows.a.seeds: 0 is given twice"),
    (changed(seeds={"final": [-1]}), "seeds.final.0: -1"),
    (changed(seeds={"finals": [0]}), "seeds.finals: unknown key"),
    (changed(reference="c"), "no row 'c'"),
    (changed(published={"c": {"T": 1}}), "no row 'c'"),
    (changed(published={"a": {"S": 1}}), "published.a.S: no column 'S'; there are: T"),
    (changed(published={"a": {"T": [1, 2, 3, 4]}}), "published.a.T: [1, 2, 3, 4]"),
    (changed(published={"a": {"T": "about 1"}}), "published.a.T: 'about 1'"),
    (changed(published={"a": {"T": [0.9, -0.1]}}), "published.a.T"),
    (changed(profiles={"x": {}}), "unknown key 'profiles'"),
    (changed(training={"epochs": 3}), "unknown key 'training'"),
]  # fmt: skip


def said(folder: Path, space: Space, code: int = 2) -> str:
    (folder / "x.yaml").write_text(yaml.safe_dump(space, sort_keys=False))
    done = spaces.in_this_process("tables", "x.yaml", folder=folder, expect=code)
    text = done.stderr if code == 2 else done.stdout
    assert "Traceback" not in text
    if code == 2:
        assert text.count("\n") == 1
        assert not (folder / "workspace" / "tables").exists()
    return text


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_damaged_file_is_one_line(tmp_path: Path, number: int) -> None:
    (tmp_path / "runs.csv").write_text(LINES)
    space, words = FILES[number]
    assert words in said(tmp_path, space, 3 if words == "no run that counts" else 2)


CSVS: list[tuple[str, str]] = [
    ("", "cannot be read"),
    ("model,lr,seed,val,test\n", "has no line"),
    ("\x00\x01", "runs.csv"),
    (LINES.replace("0.5,0.6", "half,0.6", 1), "run 'line 1': val 'half' is no number"),
    (LINES.replace("model,", "model,step,", 1), "a column 'step' needs a column 'run'"),
    ("run,step,model,lr,seed,val,test\nr,x,a,1,0,1,1\n", "step 'x' is no whole number"),
    ("run,step,model,lr,seed,val,test\nr,0,a,1,0,1,1\nr,1,b,1,0,1,1\n", "has model 'a' and 'b'"),
    ("model,lr,seed,val,test\na,1,0,1,1\na,1,0,1,1\n", "runs line 1 and line 2 are both a, lr 1.0"),
    ("model,lr,seed,val,test\n" + "".join(f"m{n},1,0,1,1\n" for n in range(10_000)),
     "runs.row: model has 10000 values; a table has at most 200 rows"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CSVS)))
def test_damaged_lines_are_one_line(tmp_path: Path, number: int) -> None:
    text, words = CSVS[number]
    (tmp_path / "runs.csv").write_text(text)
    assert words in said(tmp_path, CSV)


def of_mlflow(**runs: Any) -> Space:
    keys = {"row": "params.model", "seed": "params.seed", "searched": [], "csv": None}
    space = changed(
        runs=CSV["runs"] | keys | {"experiments": ["theirs"], "store": "sqlite:///t.db"}
    )
    space["runs"] = {n: it for n, it in (space["runs"] | runs).items() if it is not None}
    return space


STORES: list[tuple[Space, str]] = [
    (of_mlflow(experiments=["thiers"]), "no experiment 'thiers'; there are: Default, theirs"),
    (of_mlflow(experiments=["gone"]), "no experiment 'gone' (it is deleted)"),
    (of_mlflow(experiments=[]), "runs.experiments"),
    (of_mlflow(experiments=None), "Field required: experiments"),
    (of_mlflow(store="sqlite:///none.db"), "none.db: no such file"),
    (of_mlflow(store="http://127.0.0.1:9"), "cannot be read"),
    (of_mlflow(store="nonsense://x"), "cannot be read"),
    (of_mlflow(store="sqlite:///old.db"), "out-of-date database schema"),
    (of_mlflow(store="sqlite:///torn.db"), "torn.db: cannot be read"),
    (of_mlflow(store="sqlite:///other.db"), "other.db: cannot be read"),
    (of_mlflow(filter="params.lr = "), "cannot be read"),
    (of_mlflow(row="model"), "expected params.NAME, tags.NAME, metrics.NAME or attributes.NAME"),
    (of_mlflow(row="attributes.colour"), "attributes are: run_name"),
    (of_mlflow(row="params.nobody"), "no run has a row; 1 without params.nobody"),
    (of_mlflow(select={"metric": "vla", "mode": "max"}),
     "runs.select: no run has logged 'vla' (do you mean 'val'?); there are: test, val"),
]  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound store, one of an older schema, one that is torn, and one that is none of MLflow's."""
    from mlflow.tracking import MlflowClient

    folder = tmp_path_factory.mktemp("stores")
    client = MlflowClient(f"sqlite:///{folder / 't.db'}")
    run = client.create_run(client.create_experiment("theirs"))
    for key, value in (("model", "a"), ("seed", "0")):
        client.log_param(run.info.run_id, key, value)
    for key in ("val", "test"):
        client.log_metric(run.info.run_id, key, 0.5)
    client.set_terminated(run.info.run_id)
    client.delete_experiment(client.create_experiment("gone"))
    for name in ("old", "torn"):
        (folder / f"{name}.db").write_bytes((folder / "t.db").read_bytes())
    with sqlite3.connect(folder / "old.db") as old:
        old.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    torn = bytearray((folder / "torn.db").read_bytes())
    torn[4096:-4096] = b"\xff" * (len(torn) - 8192)
    (folder / "torn.db").write_bytes(torn)
    with sqlite3.connect(folder / "other.db") as other:
        other.execute("CREATE TABLE words (word TEXT)")
    return folder


@pytest.mark.parametrize("number", range(len(STORES)))
def test_a_store_that_does_not_serve_is_one_line(
    stores: Path, tmp_path: Path, number: int, copied: Callable[[Path, Path], None]
) -> None:
    copied(stores, tmp_path)
    space, words = STORES[number]
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.db")}
    assert words in said(tmp_path, space)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.db")} == before


@pytest.fixture(scope="module")
def copied() -> Callable[[Path, Path], None]:
    def copy_all(source: Path, target: Path) -> None:
        for path in source.iterdir():
            (target / path.name).write_bytes(path.read_bytes())

    return copy_all


def test_there_are_as_many_as_promised() -> None:
    assert len(FILES) + len(CSVS) + len(STORES) >= 60
