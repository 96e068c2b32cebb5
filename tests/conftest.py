"""Shared fixtures: one thread, small real datasets, and trials that train in milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from equigrid import tracking
from equigrid.datasets.ddmnist.builder import DDMNIST, DDMNISTParameters
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import group_named, recipe_of
from equigrid.datasets.resident import Dataset
from equigrid.record import TrialFiles
from equigrid.trial import Trial

tracking.settle()  # as a command does

# The same examples on every machine; slow machines are no failure.
settings.register_profile("equigrid", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("equigrid")

#: Two digits from scikit-learn, 4 labels: 48 training samples of 16×16 pixels.
TINY = {"source": "digits", "digits": 2, "per_label": {"train": 12, "val": 6, "test": 5}}


#: The longest files, of which none may be left to the end: one process runs all of a file.
LONGEST = (
    "faults/test_driver_killed.py", "orchestration/test_dispatch.py", "faults/test_interrupted.py",
    "external_runs/test_clients.py", "tracking/test_writer_faults.py", "faults/test_secrets.py",
    "stages/test_stages.py", "faults/test_server_stopped.py", "tracking/test_store_faults.py",
    "test_docs.py", "test_wheel.py", "test_cli.py", "test_own_method.py", "stages/test_quick.py",
    "faults/test_full_disk.py", "objectives/test_autoencoding.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those that start processes and wait for them."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        waits = item.get_closest_marker("cluster") is not None
        return places.get(item.path, len(places) + (not waits))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """As in a worker: sums come out the same to the bit."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_address_stays() -> Iterator[None]:
    """MLflow's own `set_tracking_uri` sets it for the process: for every test after this one."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    assert os.environ.get("MLFLOW_TRACKING_URI") == before


def _quiet(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="session")
def quiet() -> Callable[[int, int], None]:
    """Progress that nobody watches."""
    return _quiet


@pytest.fixture(scope="session")
def digits_builder() -> Callable[..., DDMNIST]:
    """`digits_builder(group, **parameters)`: double digits from scikit-learn, tiny by default."""

    def make(group: str = "D1xD1", **parameters: Any) -> DDMNIST:
        return DDMNIST(DDMNISTParameters(**{**TINY, **parameters}), group_named(group))

    return make


@pytest.fixture(scope="session")
def double_digits(
    digits_builder: Callable[..., DDMNIST], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Dataset]:
    """`double_digits(group, **parameters)`: the resident dataset on the CPU."""
    raw = RawStore(tmp_path_factory.mktemp("raw"))

    def make(group: str = "D1xD1", **parameters: Any) -> Dataset:
        builder = digits_builder(group, **parameters)
        base = builder.build(raw, _quiet)
        return builder.resident({**base, **builder.augment(base, _quiet)}, "cpu")

    return make


@pytest.fixture(scope="session")
def tiny(double_digits: Callable[..., Dataset]) -> Dataset:
    """The tiny dataset under D1×D1."""
    return double_digits()


@pytest.fixture(scope="session")
def recipe(
    digits_builder: Callable[..., DDMNIST], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The recipe of the tiny dataset."""
    return recipe_of("ddmnist", "D1xD1", digits_builder(), RawStore(tmp_path_factory.mktemp("raw")))


@pytest.fixture(scope="session")
def make_trial(recipe: dict[str, Any]) -> Callable[..., Trial]:
    """`make_trial(**changes)`: a trial on the tiny dataset; an epoch takes milliseconds.

    `lr`, `strength` (λ) and training settings may be given as they are.
    """

    def make(*, lr: float = 3e-3, strength: float = 0.5, **changes: Any) -> Trial:
        training = {"epochs": 4, "batch_size": 20, "patience": 4, "select": "val_accuracy"}
        training |= {name: changes.pop(name) for name in list(changes) if name in training}
        fields: dict[str, Any] = {
            "experiment": "tiny",
            "row": "Ours",
            "dataset": "D1",
            "role": "grid",
            "model": {"name": "small_cnn", "width": 4, "latent": 10},
            "objective": {"name": "regular_representation", "task_weights": "paper"},
            "data": recipe,
            "hyperparameters": {"lr": lr, "lambda": strength},
            "seed": 0,
            "training": training,
        }
        return Trial(**(fields | changes))

    return make


@pytest.fixture
def trial_files(tmp_path: Path) -> Callable[[str], TrialFiles]:
    """`trial_files(name)`: where a trial of that name writes, below the test's own folder."""

    def make(name: str = "trial") -> TrialFiles:
        folder = tmp_path / name
        return TrialFiles(
            folder / "checkpoint",
            folder / "previous",
            folder / "weights.safetensors",
            folder / "journal.jsonl",
            folder / "record.json",
            folder / "state",
            folder / "artifacts",
            folder / "printed.txt",
        )

    return make
