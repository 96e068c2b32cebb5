"""Which run a user means: by its run key, its MLflow run id, or the cell that it feeds."""

from __future__ import annotations

from equigrid.errors import InputError
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.tracking.cache import last_known
from equigrid.trial import Trial


def matching_keys(workspace: Workspace, what: str, plan: Plan | None = None) -> set[str]:
    """Run keys that begin with `what`, or whose MLflow run id does.

    Of what lies in the workspace and, if there is a plan, of all its trials.
    """
    folder = workspace.record_file("").parent
    keys = {path.stem for path in folder.glob("*.json")}
    keys |= {trial.key for trial in plan.all_trials()} if plan else set()
    found = {key for key in keys if key.startswith(what)}
    caches = map(last_known, workspace.tracked_caches())
    for tracked in (*caches, plan.tracked if plan else None):
        runs = tracked.runs.items() if tracked else ()
        found |= {identity[-1] for identity, run in runs if run.run_id.startswith(what)}
    return found


def finished_finals(plan: Plan, cell: str) -> list[Trial]:
    """The finished finals of `ROW/COLUMN`, by seed; InputError where there is none."""
    row, column = plan.experiment.cell(cell)
    dataset = plan.experiment.space.columns[column].dataset
    found = [t for t in plan.finals.get((row, dataset), ()) if plan.is_finished(t)]
    if not found:
        raise InputError(f"{cell}: no final is finished")
    return found


def find_record(workspace: Workspace, what: str, plan: Plan | None = None) -> Record:
    """The record behind the beginning of a run key or of an MLflow run id.

    With a plan also behind `ROW/COLUMN`: that of its first finished seed. Raises InputError where
    that is no run, several, or one whose record is not in the workspace.
    """
    if plan is not None and "/" in what:
        keys = {finished_finals(plan, what)[0].key}
    else:
        keys = matching_keys(workspace, what, plan)
    if len(keys) != 1:
        count = "no run" if not keys else f"{len(keys)} runs"
        raise InputError(
            f"{what}: {count} known in {workspace.root}; give more of a run key, or of an MLflow "
            "run id that `equigrid status` has seen"
        )
    record = workspace.record(keys.pop())
    if record is None:
        raise InputError(f"{what}: its record is not in {workspace.root}; a run brings it home")
    return record
