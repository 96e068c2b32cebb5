"""Say what a run would do: cells, trials, what is finished, what is missing, how long.

Example: equigrid plan ddmnist --profile small
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import fmean

from rich.console import RenderableType
from rich.table import Table as RichTable

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, open_ledger
from equigrid.config.experiment import Experiment
from equigrid.errors import InputError
from equigrid.lookup import model_entry
from equigrid.machine import cores, memory, sockets_folder
from equigrid.planning.ledger import Ledger
from equigrid.planning.missing import changes, missing_trainings
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.reporting.words import duration
from equigrid.trial import Trial

#: Evaluation and the optimiser on top of forward and backward passes, measured on double digits.
OVERHEAD = 1.25
#: What a run takes besides training, on two cores: Ray's start, two stages of trials, the report.
START_SECONDS = 20


def plan(name: Name, profile: Profile = None, workspace: Root = WORKSPACE) -> None:
    for part in forecast(open_ledger(name, profile, workspace)):
        console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


def forecast(ledger: Ledger) -> Iterator[RenderableType]:
    """The plan as a table, its totals, and an estimate of the time."""
    # What a run could not have it may have now: the plan is of everything.
    experiment, workspace, plan = ledger.experiment, ledger.workspace, ledger.full_plan()
    shown = RichTable(title=f"Plan of {experiment.full_name}", title_justify="left")
    for heading in ("row / dataset", "grid", "finished", "failed", "finals", "finished", "failed"):
        shown.add_column(heading, justify="left" if "/" in heading else "right")
    for arm in experiment.arms():
        row, dataset = arm
        grid, tested = plan.grid[arm], plan.finals.get(arm, ())
        shown.add_row(
            f"{row} / {dataset}",
            str(len(grid)),
            str(sum(map(plan.is_finished, grid))),
            str(sum(map(plan.is_failed, grid))),
            str(len(experiment.seeds(row, "final"))),
            str(sum(map(plan.is_finished, tested))),
            str(sum(map(plan.is_failed, tested))),
        )
    yield shown
    total = sum(len(trials) for trials in plan.grid.values())
    finals = sum(len(experiment.seeds(row, "final")) for row, _ in experiment.arms())
    counts = missing_trainings(plan)
    yield (
        f"{len(list(experiment.cells()))} cells, {total} grid and {finals} final trials; "
        f"{sum(counts.values())} trainings missing"
    )
    yield from changes(plan, ledger.index, workspace, counts)
    yield from experiment.unseen_code()
    yield from _absent_files(ledger)
    yield from too_large(experiment)
    unstopped: dict[int, list[str]] = {}
    for row, method in experiment.rows.items():
        rule, epochs = method.training.trend, method.training.epochs
        if rule is not None and max(rule.after, 2 * rule.window) >= epochs and not method.trivial:
            unstopped.setdefault(epochs, []).append(row)
    for epochs, rows in unstopped.items():
        yield f"training.trend stops no training of {', '.join(rows)}: they have {epochs} epochs"
    retested = [
        trial
        for trials in plan.finals.values()
        for trial in trials
        if trial.key in plan.results and not plan.is_finished(trial) and not plan.is_failed(trial)
    ]
    if retested:
        yield f"{len(retested)} finals are tested on weights that are trained already"
    yield _estimate(plan, workspace, counts)


def _absent_files(ledger: Ledger) -> Iterator[str]:
    """Raw files that a run will have to fetch, or to do without."""
    raw, recipes = ledger.raw, ledger.official_recipes
    absent = {
        file.name: file
        for name, dataset in ledger.experiment.datasets.items()
        if not ledger.workspace.data_file(recipes[name]).exists()
        for file in dataset.builder.raw_files
        if not raw.place(file).exists()
    }
    for file in absent.values():
        found = f"a run fetches it from {file.url}" if file.url else f"put it there ({file.origin})"
        yield f"{raw.place(file)} is not there: {found}"


def too_large(experiment: Experiment) -> Iterator[str]:
    """What this machine can never do, whatever else happens."""
    wanted, most = experiment.space.resources.cpu, cores()
    if wanted > most:
        yield (
            f"resources.cpu: a trial wants {wanted:g} CPUs, this machine has {most} for us; it "
            "could never start"
        )
    room = memory()
    for name, dataset in experiment.datasets.items():
        least = dataset.builder.least_bytes
        if least > room:
            yield (
                f"datasets.{name}: it takes at least {least / 1e9:.0f} GB, this machine has "
                f"{room / 1e9:.0f} GB of memory for us"
            )


def check_room(experiment: Experiment, *, with_ray: bool) -> None:
    """InputError where this machine, which cannot grow, can never do what is asked for."""
    if with_ray:
        sockets_folder()
    for text in too_large(experiment):
        raise InputError(f"{experiment.name}: {text}")


def _estimate(plan: Plan, workspace: Workspace, counts: Mapping[Arm, int]) -> str:
    """Upper bound: every training to its last epoch, on this machine's cores."""
    if not any(counts.values()):
        return "nothing to train"
    seconds, measured = 0.0, True
    for arm, count in counts.items():
        if not count:
            continue
        per_epoch = _measured_epoch(plan, workspace, arm)
        if per_epoch is None:
            measured = False
            per_epoch = _first_guess(plan, arm)
        if per_epoch is None:
            return f"time: unknown until a first trial of {arm[0]} / {arm[1]} has finished"
        seconds += count * per_epoch * plan.experiment.rows[arm[0]].training.epochs
    slots = max(1, math.floor(cores() / plan.experiment.space.resources.cpu))
    basis = "by finished trials" if measured else "roughly, by the model's cost on one CPU thread"
    return (
        f"training: at most {duration(seconds / slots)} on {slots} CPU slots of this machine "
        f"({basis}; all epochs, early stop ends sooner); some {START_SECONDS} s more to start and "
        "for the tables"
    )


def _measured_epoch(plan: Plan, workspace: Workspace, arm: Arm) -> float | None:
    trials: list[Trial] = [*plan.grid[arm], *plan.finals.get(arm, ())]
    for trial in trials:
        if trial.key in plan.results:
            record = workspace.record(trial.key)
            if record is not None and record.epoch_seconds:
                return sum(record.epoch_seconds) / len(record.epoch_seconds)
    return None


def _first_guess(plan: Plan, arm: Arm) -> float | None:
    row = plan.experiment.rows[arm[0]]
    cost = model_entry(row.model["name"]).cpu_seconds
    builder = plan.experiment.datasets[arm[1]].builder
    if cost is None or builder.input_shape is None:
        return None
    # A grid may search the model's width.
    sample = fmean(cost(trial.model, builder.input_shape) for trial in plan.grid[arm])
    return sample * builder.train_size * row.passes * OVERHEAD
