"""Trials under way on the tiny dataset."""

from __future__ import annotations

import pytest

from equigrid.training.run import TrialRun
from equigrid.training.torch_loop import TorchLoop


@pytest.fixture
def start(tiny, trial_files):
    """`start(trial, name)`: the run of a trial on the tiny dataset, in a folder of that name."""

    def run(trial, name="trial", dataset=tiny, make_engine=TorchLoop):
        return TrialRun(trial, dataset, "d" * 64, trial_files(name), "cpu", make_engine)

    return run
