"""MLflow's tables are made once on a machine, and copied into every further workspace."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from equigrid.tracking import database
from equigrid.tracking.store import sqlite_uri


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "equigrid" / f"mlflow-{version('mlflow')}.db"


def _tables(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master"))


def test_a_second_store_is_a_copy_and_a_damaged_template_is_made_anew(
    template: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first" / "mlflow.db", tmp_path / "second" / "mlflow.db"
    for path in (first, second):
        path.parent.mkdir()
        database.make_store(path)
    assert _tables(first) == _tables(second)
    (default,) = MlflowClient(tracking_uri=sqlite_uri(second)).search_experiments()
    assert default.artifact_location == (second.parent / "artifacts" / "0").as_uri()
    whole = template.stat().st_size
    template.write_bytes(template.read_bytes()[: whole // 2])
    third = tmp_path / "third.db"
    database.make_store(third)
    assert _tables(third) == _tables(first)
    assert template.stat().st_size == whole
    assert not list(tmp_path.rglob(".*.new*"))
