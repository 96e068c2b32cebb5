"""An empty store, and records to send to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import spaces
from tracked_runs import TESTED

from equigrid.record import Record
from equigrid.tracking.store import Store
from equigrid.trial import Trial


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with its tables made, which takes seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts", "tiny")


@pytest.fixture
def records(make_trial: Callable[..., Trial]) -> list[Record]:
    """Two grid trials, and the better one's final and a second seed."""
    grid = [make_trial(strength=0.5), make_trial(strength=2.0)]
    finals = [
        make_trial(strength=0.5, role="final"),
        make_trial(strength=0.5, seed=1, role="final"),
    ]
    return [spaces.made_up(it) for it in grid] + [spaces.made_up(it, TESTED) for it in finals]
