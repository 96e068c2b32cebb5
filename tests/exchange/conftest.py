"""One bundle for all tests; none of them changes it."""

from __future__ import annotations

import zipfile

import pytest
import spaces
from archives import (
    Made,
    finish,
    plan_of,
)

from equigrid.config.experiment import load_experiment
from equigrid.exchange.exporting import export
from equigrid.planning.ledger import Ledger
from equigrid.planning.workspace import Workspace
from equigrid.stages.tables import tables


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    experiment = load_experiment(str(spaces.write(folder / "tiny.yaml")))
    workspace = Workspace(folder / "workspace")
    finish(experiment, workspace)
    tables(plan_of(experiment, workspace), workspace)
    path = folder / "tiny.bundle"
    assert export(Ledger(experiment, workspace), path) == 7
    with zipfile.ZipFile(path) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    return Made(experiment, workspace, path, contents)
