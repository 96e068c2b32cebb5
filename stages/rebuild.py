"""A plan, and so a table, from MLflow alone."""

from __future__ import annotations

from pipeline.config import Experiment
from pipeline.datasets.raw import RawStore
from pipeline.files import InputError
from pipeline.orchestration.plan import Plan, make_plan
from pipeline.orchestration.workspace import Workspace
from pipeline.tracking.tracked import StoreError, refresh
from stages.forecast import recipes_of
from stages.run import store_of


def plan_from_mlflow(experiment: Experiment, workspace: Workspace) -> Plan:
    """The plan as the tracked runs have it; no record of the workspace is read."""
    store, cache = store_of(workspace, experiment), workspace.tracked_cache(experiment.full_name)
    try:
        tracked = refresh(store, cache)
    except StoreError as error:
        raise InputError(f"MLflow cannot be read: {error}") from error
    recipes = recipes_of(experiment, RawStore())
    return make_plan(experiment, recipes, tracked.results, tracked.failures, {})
