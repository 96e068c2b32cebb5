"""What is known of an experiment before anything runs: its records, and what MLflow holds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.datasets.raw import RawStore
from pipeline.errors import InputError, StoreError
from pipeline.files import write_atomically
from pipeline.planning.plan import Gap, Plan, make_plan, plan_from_workspace
from pipeline.planning.workspace import Workspace
from pipeline.tracking.cache import last_known, load_tracked, refresh
from pipeline.tracking.store import Store, Tracked
from pipeline.trial import data_key

log = logging.getLogger("equigrid")


#: Logged once a process: a run looks at MLflow several times.
_told: set[str] = set()


def recipes_of(experiment: Experiment, raw: RawStore) -> dict[str, Mapping[str, Any]]:
    """Every dataset's recipe; a raw file that is not here yet counts as the official one."""
    return {name: experiment.recipe(name, raw) for name in experiment.datasets}


def store_of(workspace: Workspace, experiment: Experiment) -> Store:
    return store_named(workspace, experiment.full_name)


def store_named(workspace: Workspace, experiment: str) -> Store:
    """By the experiment's full name."""
    refusals = workspace.refusals_file(experiment)
    return Store(workspace.tracking_uri, workspace.artifact_folder, experiment, refusals)


def tracked_runs(experiment: Experiment, workspace: Workspace) -> Tracked | None:
    """What MLflow holds; where it cannot be read, what it held last, or None; said once."""
    cache = workspace.tracked_cache(experiment.full_name)
    try:
        return load_tracked(store_of(workspace, experiment), cache)
    except StoreError as error:
        kept = last_known(cache)
        instead = "the workspace alone" if kept is None else "what it held when last read"
        text = f"MLflow cannot be read ({error}); going by {instead}"
        if text not in _told:
            _told.add(text)
            log.warning("%s", text)
        return kept


def keep_gaps(experiment: Experiment, workspace: Workspace, gaps: Mapping[str, Gap]) -> None:
    """Write down which datasets a run cannot have: the tables after it say the same."""
    path = workspace.gaps_file(experiment.full_name)
    if gaps:
        content = {name: asdict(gap) for name, gap in gaps.items()}
        write_atomically(path, json.dumps(content, indent=1), durable=False)
    else:
        path.unlink(missing_ok=True)


def known_data(
    experiment: Experiment, workspace: Workspace
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Gap]]:
    """Recipes by dataset; and why the last run could not have those that it could not make."""
    raw = RawStore()
    recipes, gaps = recipes_of(experiment, raw), dict[str, Gap]()
    path = workspace.gaps_file(experiment.full_name)
    try:
        said = json.loads(path.read_text("utf-8")) if path.exists() else {}
        # Before failures of a builder were kept, a gap was its reason alone.
        known = {n: Gap(**it) if isinstance(it, dict) else Gap(str(it)) for n, it in said.items()}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s: damaged (%s); not used", path, error)
        known = {}
    for name in known.keys() & recipes.keys():
        gap, recipe = known[name], recipes[name]
        if gap.data_key is None:
            files = experiment.datasets[name].builder.raw_files
            absent = any(not (raw.folder / file.name).exists() for file in files)
            holds = absent and not workspace.data_file(recipe).exists()
        else:
            holds = gap.data_key == data_key(recipe) and not workspace.cache_file(recipe).exists()
        if holds:
            gaps[name] = gap
            del recipes[name]
    return recipes, gaps


def known_plan(experiment: Experiment, workspace: Workspace) -> Plan:
    """The plan as records and tracked runs have it; the data is not looked at."""
    return plan_with(experiment, workspace, tracked_runs(experiment, workspace))


def plan_with(experiment: Experiment, workspace: Workspace, tracked: Tracked | None) -> Plan:
    """The plan as records have it, and tracked runs where a record is not here."""

    def make(wanted: Experiment) -> Plan:
        recipes, gaps = known_data(wanted, workspace)
        return plan_from_workspace(wanted, workspace, recipes, gaps, tracked)

    return _of_newest_version(experiment, make)


def _of_newest_version(experiment: Experiment, make: Callable[[Experiment], Plan]) -> Plan:
    """The plan of today's training version; where only an older one left results, of that one."""
    current = make(experiment)
    if not current.has_results:
        for version in range(experiment.training_version - 1, 0, -1):
            older = make(experiment.as_of(version))
            if older.has_results:
                return older
    return current


def plan_from_mlflow(experiment: Experiment, workspace: Workspace) -> Plan:
    """The plan as the tracked runs have it; no record of the workspace is read."""
    cache = workspace.tracked_cache(experiment.full_name)
    try:
        tracked = refresh(store_of(workspace, experiment), cache)
    except StoreError as error:
        raise InputError(f"MLflow cannot be read: {error}") from error

    def make(wanted: Experiment) -> Plan:
        recipes, gaps = known_data(wanted, workspace)
        return make_plan(wanted, recipes, tracked.results, tracked.failures, gaps)

    return _of_newest_version(experiment, make)


def cell_named(experiment: Experiment, text: str) -> tuple[str, str]:
    """Row and column of `ROW/COLUMN`; InputError says which there are."""
    row, _, column = (part.strip() for part in text.partition("/"))
    if row not in experiment.rows:
        raise InputError(f"{text!r}: no row {row!r}; there are: {', '.join(experiment.rows)}")
    columns = experiment.space.columns
    if column not in columns:
        raise InputError(f"{text!r}: no column {column!r}; there are: {', '.join(columns)}")
    return row, column
