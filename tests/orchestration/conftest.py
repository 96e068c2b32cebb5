"""The two dispatchers, and trials for them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from lots import Lot, MakeDispatcher, make_lot

from pipeline.orchestration.dispatch import Dispatcher
from pipeline.orchestration.in_process import InProcess
from pipeline.orchestration.workspace import Workspace

RETRIES = 1


@pytest.fixture(scope="module")
def lot(tmp_path_factory: pytest.TempPathFactory) -> Lot:
    return make_lot(tmp_path_factory.mktemp("moods"))


@pytest.fixture(scope="module")
def ray_tune(lot: Lot) -> Iterator[MakeDispatcher]:
    """`ray_tune(workspace)`: dispatchers on one local Ray."""
    from pipeline.orchestration.ray_tune import RayTune

    first = RayTune(lot.workspace, RETRIES, lot.experiment.space.resources, lot.folder)

    def make(workspace: Workspace) -> Dispatcher:
        dispatcher = copy.copy(first)
        dispatcher.workspace = workspace
        return dispatcher

    yield make
    first.close()


@pytest.fixture(
    scope="module", params=["in process", pytest.param("Ray Tune", marks=pytest.mark.cluster)]
)
def dispatcher(request: pytest.FixtureRequest) -> MakeDispatcher:
    """`dispatcher(workspace)`: the same tests for both."""
    if request.param == "in process":
        return lambda workspace: InProcess(workspace, RETRIES)
    make: MakeDispatcher = request.getfixturevalue("ray_tune")
    return make
