"""The two dispatchers, and trials for them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from lots import Lot, MakeDispatcher, make_lot

from equigrid.orchestration.dispatch import Dispatcher
from equigrid.orchestration.in_process import InProcess
from equigrid.planning.workspace import Workspace

RETRIES = 1


@pytest.fixture(scope="module")
def lot(tmp_path_factory: pytest.TempPathFactory) -> Lot:
    return make_lot(tmp_path_factory.mktemp("moods"))


@pytest.fixture(scope="module")
def ray_tune(lot: Lot) -> Iterator[MakeDispatcher]:
    """`ray_tune(workspace)`: dispatchers on one local Ray."""
    from equigrid.orchestration.ray_tune import RayTune

    first = RayTune(lot.workspace, RETRIES, lot.experiment.space.resources, lot.folder)

    def make(workspace: Workspace) -> Dispatcher:
        dispatcher = copy.copy(first)
        dispatcher.workspace = workspace
        return dispatcher

    yield make
    first.close()


@pytest.fixture(scope="module")
def apart(ray_tune: MakeDispatcher) -> MakeDispatcher:
    """The same on a node that does not see the workspace: a workspace server carries all."""
    from equigrid.orchestration.ray_tune import RayTune

    class Apart(RayTune):
        def _marker(self, scratch: Path) -> Path:
            return scratch / "not there"

    def make(workspace: Workspace) -> Dispatcher:
        dispatcher = ray_tune(workspace)
        dispatcher.__class__ = Apart
        dispatcher.is_cluster = True  # type: ignore[attr-defined]
        return dispatcher

    return make


@pytest.fixture(
    scope="module",
    params=[
        "in process",
        pytest.param("ray_tune", marks=pytest.mark.cluster),
        pytest.param("apart", marks=pytest.mark.cluster),
    ],
)
def dispatcher(request: pytest.FixtureRequest) -> MakeDispatcher:
    """`dispatcher(workspace)`: the same tests for all."""
    if request.param == "in process":
        return lambda workspace: InProcess(workspace, RETRIES)
    make: MakeDispatcher = request.getfixturevalue(request.param)
    return make
