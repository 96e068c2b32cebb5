"""A plan, and so a table, from MLflow alone."""

from __future__ import annotations

from pipeline.config import Experiment
from pipeline.datasets.raw import RawStore
from pipeline.files import InputError
from pipeline.orchestration.plan import Plan, make_plan
from pipeline.orchestration.workspace import Failure, Workspace
from stages.forecast import recipes_of
from stages.run import store_of


def plan_from_mlflow(experiment: Experiment, workspace: Workspace) -> Plan:
    """The plan as the tracked runs have it; no record of the workspace is read."""
    from pipeline.tracking import query

    store = store_of(workspace, experiment)
    try:
        tracked = query.read(store)
    except query.StoreError as error:
        raise InputError(f"MLflow cannot be read: {error}") from error
    recipes = recipes_of(experiment, RawStore())
    first = make_plan(experiment, recipes, tracked.results, {}, {})
    failures = {
        trial.key: Failure(trial, tracked.failures[trial.key], "", 0)
        for trial in first.all_trials()
        if trial.key in tracked.failures
    }
    second = make_plan(experiment, recipes, tracked.results, failures, {})
    failures |= {
        trial.key: Failure(trial, tracked.failures[trial.key], "", 0)
        for trial in second.all_trials()
        if trial.key in tracked.failures
    }
    return make_plan(experiment, recipes, tracked.results, failures, {})
