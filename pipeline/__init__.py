"""Hyperparameter grids, tracked runs and finished tables for approximately equivariant networks.

    import equigrid

    quickstart = equigrid.open_experiment("quickstart")
    quickstart.table()

    equigrid.table(frame, …)  # of runs that somebody else's code has logged

What is here is meant for use from outside: experiments that were run, and the classes and functions
that parts of one's own build on. `equigrid.testing` has the cases that test such parts. Importing
this changes nothing in a process; each name is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from equigrid.version import __version__ as __version__

if TYPE_CHECKING:
    from equigrid import testing
    from equigrid.datasets.builder import Builder, fixed_views, random_stream
    from equigrid.datasets.images import ImageClassification
    from equigrid.datasets.resident import Dataset, on_device, read_views
    from equigrid.errors import InputError
    from equigrid.external_runs.opened import RunsTable, table
    from equigrid.models.network import Network
    from equigrid.notebook import OpenExperiment, open_experiment
    from equigrid.objectives.regular import regular_action
    from equigrid.objectives.task import Loss, Objective
    from equigrid.parameters import Later, Parameters
    from equigrid.planning.open_run import OpenRun
    from equigrid.record import Record
    from equigrid.symmetry import FiniteGroup

_MODULES = {
    "Builder": "datasets.builder",
    "Dataset": "datasets.resident",
    "FiniteGroup": "symmetry",
    "ImageClassification": "datasets.images",
    "InputError": "errors",
    "Later": "parameters",
    "Loss": "objectives.task",
    "Network": "models.network",
    "Objective": "objectives.task",
    "OpenExperiment": "notebook",
    "OpenRun": "planning.open_run",
    "Parameters": "parameters",
    "Record": "record",
    "RunsTable": "external_runs.opened",
    "fixed_views": "datasets.builder",
    "on_device": "datasets.resident",
    "open_experiment": "notebook",
    "random_stream": "datasets.builder",
    "read_views": "datasets.resident",
    "regular_action": "objectives.regular",
    "table": "external_runs.opened",
}

__all__ = [
    "Builder",
    "Dataset",
    "FiniteGroup",
    "ImageClassification",
    "InputError",
    "Later",
    "Loss",
    "Network",
    "Objective",
    "OpenExperiment",
    "OpenRun",
    "Parameters",
    "Record",
    "RunsTable",
    "fixed_views",
    "on_device",
    "open_experiment",
    "random_stream",
    "read_views",
    "regular_action",
    "table",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("equigrid.testing")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"equigrid.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
