"""What a run has still to train, and why some of it was trained before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from equigrid.planning.index import RecordIndex, TrainedWith
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.trial import Trial


def missing_trainings(plan: Plan) -> dict[Arm, int]:
    """Trainings still missing by (row, dataset).

    A final of a grid seed repeats the selected grid trial: it is evaluated, not trained.
    """
    counts: dict[Arm, int] = {}
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
        counts[arm] = len(waiting)
    return counts


def changes(
    plan: Plan, index: RecordIndex, workspace: Workspace, counts: Mapping[Arm, int]
) -> Iterator[str]:
    """Why trainings are missing that were done before: code or training itself has changed."""
    if not any(counts.values()):
        return
    others = index.of_same_settings
    anew: Counter[str] = Counter()
    for arm, count in counts.items():
        trials = (*plan.grid[arm], *plan.finals.get(arm, ()))
        trial = next(
            (t for t in trials if t.key not in plan.results and t.settings_key in others), None
        )
        if trial is not None:
            anew[_what_changed(trial, others[trial.settings_key])] += count
    missing = (t for g in counts for t in (*plan.grid[g], *plan.finals.get(g, ())))
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


def _what_changed(trial: Trial, others: Sequence[TrainedWith]) -> str:
    """Since a record of the same settings; by the one that differs least."""
    code = trial.training_code
    texts = []
    for other in others:
        parts = []
        changed = [name for name in code if other.code.get(name) != code[name]]
        if changed:
            word = "changed" if other.code else "was not recorded"
            parts.append(f"code of {', '.join(changed)} {word}")
        if other.training_version != trial.training_version:
            parts.append(f"training is of version {trial.training_version}, it was of "
                         f"{other.training_version}")  # fmt: skip
        texts.append("; ".join(parts))
    return min(texts, key=len)
