"""Bundles: what leaves is what arrives."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import spaces
from archives import (
    Made,
    archive,
    entries,
    info,
    members,
    plan_of,
    refuses,
)

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.exchange import bundle
from equigrid.exchange.bundle import read_bundle, write_bundle
from equigrid.exchange.exporting import export
from equigrid.exchange.importing import import_files
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.stages.tables import tables


def test_a_bundle_is_a_zip_file_of_one_layout(made: Made) -> None:
    assert archive(entries(members(made))) == made.data
    with zipfile.ZipFile(made.path) as file:
        assert file.testzip() is None
        names = file.namelist()
    assert names == sorted(names)
    kinds = [name.split("/")[0] for name in names]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "manifest.json": 1, "records": 7, "search_space": 1, "tables": 5,
        "trials.json": 1,
    }  # fmt: skip
    # What came later than the layout is made again by whoever imports it.
    later = {"comparisons.tex", "latents.tex"}
    for name, content in tables_of(made.workspace).items():
        assert name in later or made.contents[f"tables/{name}"] == content
    given = (made.experiment.folder / "tiny.yaml").read_bytes()
    assert made.contents["search_space/tiny.yaml"] == given


def tables_of(workspace: Workspace) -> dict[str, bytes]:
    return spaces.tables(workspace.root)


def test_the_same_records_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere" / "again"
    export(Ledger(made.experiment, made.workspace), again)
    export(Ledger(made.experiment, made.workspace), again)
    assert again.read_bytes() == made.data
    assert [path.name for path in again.parent.iterdir()] == ["again"]


@pytest.mark.cluster
def test_an_import_joins_the_workspace_and_makes_the_same_table(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    workspace = Workspace(tmp_path / "workspace")
    single = made.workspace.root / made.record()
    assert import_files([single, made.path], workspace) == (7, 1)
    assert spaces.tree(workspace.root, ["records"]) == spaces.tree(made.workspace.root, ["records"])
    assert not (workspace.root / "tables").exists()
    tables(plan_of(made.experiment, workspace), workspace)
    assert tables_of(workspace) == tables_of(made.workspace)
    before = spaces.tree(workspace.root, ["records", "tables", "artifacts"])
    # A training that serves the grid and the finals is tracked as both.
    roles = Counter(role for _, _, role, _ in Ledger(made.experiment, workspace).tracked().runs)
    assert roles == {"grid": 4, "final": 5}
    assert import_files([made.path], workspace) == (0, 7)
    assert spaces.tree(workspace.root, ["records", "tables", "artifacts"]) == before
    # And what was imported can be given on as it is.
    export(Ledger(made.experiment, workspace), tmp_path / "onward")
    assert (tmp_path / "onward").read_bytes() == made.data


def test_nothing_finished_is_nothing_to_export(made: Made, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(InputError, match=r"tiny: nothing is finished in .*workspace"):
        export(Ledger(made.experiment, workspace), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_table_says_what_is_not_in_its_bundle(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    for trial in plan_of(made.experiment, workspace).missing("grid")[:3]:
        spaces.made_up(trial).save(workspace.record_file(trial.key))
    assert export(Ledger(made.experiment, workspace), tmp_path / "out") == 3
    assert "6 of 9 trials are not in it" in caplog.text
    found = read_bundle(tmp_path / "out")
    assert found.about["missing"] == "6"
    assert len(list(found.records())) == 3
    assert not any(name.startswith("tables/") for name in found.members)


def test_no_other_file_is_overwritten(made: Made, tmp_path: Path) -> None:
    other = tmp_path / "weights.npz"
    other.write_bytes(archive([(info("manifest"), b"")]))
    for taken in (made.experiment.folder / "tiny.yaml", other, tmp_path):
        with pytest.raises(InputError, match="is there already and no bundle"):
            export(Ledger(made.experiment, made.workspace), taken)
    assert zipfile.is_zipfile(other)


def test_an_edited_search_space_is_not_passed_off_as_the_exported_one(
    made: Made, tmp_path: Path
) -> None:
    shutil.copytree(made.workspace.root, tmp_path / "workspace")
    experiment = load_experiment(str(spaces.write(tmp_path / "tiny.yaml")))
    spaces.write(tmp_path / "tiny.yaml", training={"epochs": 9, "batch_size": 20, "patience": 9})
    with pytest.raises(InputError, match=r"no tiny\.yaml with this experiment's settings"):
        export(Ledger(experiment, Workspace(tmp_path / "workspace")), tmp_path / "out")


def test_a_file_changed_after_its_check_is_noticed(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "moving"
    path.write_bytes(made.data)
    found = read_bundle(path)
    path.write_bytes(made.data.replace(b"0.125", b"0.250"))
    with pytest.raises(InputError, match=r"records/.*\.json: changed while it was read"):
        list(found.records())


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("LARGEST_MEMBER", 2**20 - 1, "allowed: at most 0 MiB"),
        ("LARGEST_BUNDLE", 10_000, "bytes; allowed: at most 0 MiB"),
        ("MOST_MEMBERS", 3, "14 members: more than 3"),
    ],
)
def test_limits_hold_for_writing_and_for_reading(
    limit: str, value: int, reason: str, made: Made, tmp_path: Path, monkeypatch: Any
) -> None:
    large = members(made) | {"tables/table.md": b" " * 2**20}
    data = archive(entries(large))
    monkeypatch.setattr(bundle, limit, value)
    refuses(data, tmp_path, reason)
    with pytest.raises(InputError, match=reason):
        write_bundle(tmp_path / "out", large, {})
    assert not (tmp_path / "out").exists()
