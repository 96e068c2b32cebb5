"""What a run has still to train, and why some of it was trained before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from equigrid.planning.index import RecordIndex, Twin
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial


def trials_ahead(plan: Plan) -> dict[Arm, int]:
    """Trainings still missing by (row, dataset).

    A final of a grid seed repeats the selected grid trial: it is evaluated, not trained.
    """
    ahead: dict[Arm, int] = {}
    for arm, trials in plan.grid.items():
        row, _ = arm
        if plan.experiment.rows[row].trivial:
            continue
        waiting = {t.key for t in trials if not plan.is_finished(t) and not plan.is_failed(t)}
        if arm in plan.unselected:
            shared = set(plan.experiment.seeds(row, "grid"))
            waiting |= {f"seed {s}" for s in plan.experiment.seeds(row, "final") if s not in shared}
        waiting |= {
            t.key
            for t in plan.finals.get(arm, ())
            if t.key not in plan.results and not plan.is_failed(t)
        }
        ahead[arm] = len(waiting)
    return ahead


def changes(
    plan: Plan, index: RecordIndex, workspace: Workspace, ahead: Mapping[Arm, int]
) -> Iterator[str]:
    """Why trainings are missing that were done before: code or training itself has changed."""
    if not any(ahead.values()):
        return
    twins = index.twins
    anew: Counter[str] = Counter()
    for arm, count in ahead.items():
        trials = (*plan.grid[arm], *plan.finals.get(arm, ()))
        trial = next((t for t in trials if t.key not in plan.results and t.twin_key in twins), None)
        if trial is not None:
            anew[_what_changed(trial, twins[trial.twin_key])] += count
    missing = (t for g in ahead for t in (*plan.grid[g], *plan.finals.get(g, ())))
    going_on = {
        trial.key
        for trial in missing
        if trial.key not in plan.results
        and workspace.state_file(trial).exists()
        and "schedule" not in trial.training
    }
    if going_on:
        yield f"{len(going_on)} trainings go on from where shorter ones ended"
    for reason, count in anew.items():
        yield f"{reason}: {count} trainings anew"


def _what_changed(trial: Trial, twins: Sequence[Twin]) -> str:
    """Since a record of the same settings; by the one that differs least."""
    code = trial.training_code
    texts = []
    for twin in twins:
        parts = []
        others = [name for name in code if twin.code.get(name) != code[name]]
        if others:
            word = "changed" if twin.code else "was not recorded"
            parts.append(f"code of {', '.join(others)} {word}")
        if twin.training_version != trial.training_version:
            parts.append(f"training is of version {trial.training_version}, it was of "
                         f"{twin.training_version}")  # fmt: skip
        texts.append("; ".join(parts))
    return min(texts, key=len)
