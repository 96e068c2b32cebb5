"""Desired trials − finished trials = what to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from equigrid.config.experiment import Experiment
from equigrid.planning.failing_alike import common_reason
from equigrid.planning.selection import Selection, select
from equigrid.record import Result
from equigrid.tracking.store import Identity, Tracked, identity_of
from equigrid.trial import Trial

#: A row on a dataset: what is trained together and selected over.
Arm = tuple[str, str]


@dataclass(frozen=True)
class Gap:
    """Why there is no dataset. data_key: of what failed to build; None: raw data is missing."""

    reason: str
    data_key: str | None = None

    @property
    def label(self) -> str:
        return "raw data missing" if self.data_key is None else "not built"


@dataclass(frozen=True)
class Plan:
    """What an experiment wants and what it has.

    grid, finals: desired trials by (row, dataset); finals only where the selection is known.
    unselected: (row, dataset) whose grid still runs: their finals are not known yet.
    failures: why a trial was given up, by run key.
    gaps: datasets that could not be made.
    recorded: results that have a record in the workspace. tracked: what MLflow holds, None where
    it was not asked. refused: why MLflow would not take a record, by the identity of its run.
    """

    experiment: Experiment
    grid: Mapping[Arm, tuple[Trial, ...]]
    finals: Mapping[Arm, tuple[Trial, ...]]
    selections: Mapping[Arm, Selection | None]
    unselected: tuple[Arm, ...]
    results: Mapping[str, Result]
    failures: Mapping[str, str]
    gaps: Mapping[str, Gap]
    recorded: Mapping[str, Result] = field(default_factory=dict)
    tracked: Tracked | None = None
    refused: Mapping[Identity, str] = field(default_factory=dict)

    @property
    def is_tracked(self) -> bool:
        return self.tracked is not None and bool(self.tracked.runs)

    def doubt(self, trial: Trial) -> str:
        """How a trial's tracked run departs from its record; empty where it does not.

        Where MLflow holds no run of the experiment at all, nothing is said of single ones.
        """
        recorded = self.recorded.get(trial.key)
        if recorded is not None and (refusal := self.refusal(trial)):
            return f"MLflow refuses it: {refusal}"
        if not self.is_tracked or recorded is None or not self.is_finished(trial):
            return ""
        assert self.tracked is not None
        return self.tracked.difference(trial, recorded)

    def refusal(self, trial: Trial) -> str:
        """Why MLflow would not take a trial's record; empty where it did, or was not asked."""
        return self.refused.get(identity_of(trial), "")

    def why_not(self, dataset: str) -> str:
        """Why a dataset could not be made; empty where it was, or nobody tried."""
        return self.gaps[dataset].reason if dataset in self.gaps else ""

    def is_finished(self, trial: Trial) -> bool:
        """A grid trial needs its result, a final the scores of its tests too."""
        result = self.results.get(trial.key)
        if result is None or trial.role == "grid":
            return result is not None
        return result.test is not None and trial.metrics.items() <= result.metrics.items()

    def is_failed(self, trial: Trial) -> bool:
        return not self.is_finished(trial) and trial.key in self.failures

    @cached_property
    def held(self) -> dict[Arm, str]:
        """Arms without a result whose rest waits, and the reason for which trials of it failed."""
        found = {}
        for arm in self.grid:
            trials = (*self.grid[arm], *self.finals.get(arm, ()))
            if not any(trial.key in self.results for trial in trials):
                keys = {trial.key for trial in trials} & self.failures.keys()
                if reason := common_reason(self.failures[key] for key in keys):
                    found[arm] = reason
        return found

    @cached_property
    def undefined(self) -> dict[tuple[str, str], dict[int, str]]:
        """By row and column the seeds whose tests gave no number there, and what instead."""
        found: dict[tuple[str, str], dict[int, str]] = {}
        for row, name in self.experiment.cells():
            column = self.experiment.space.columns[name]
            for trial in self.finals.get((row, column.dataset), ()):
                if trial.key in self.results and self.is_finished(trial):
                    texts = self.results[trial.key].undefined.get(column.split, {})
                    if text := texts.get(column.metric):
                        found.setdefault((row, name), {})[trial.seed] = text
        return found

    def undefined_texts(self) -> list[str]:
        """One for each such cell."""
        texts = []
        for (row, name), seeds in self.undefined.items():
            column = self.experiment.space.columns[name]
            which = ", ".join(f"{seed} ({text})" for seed, text in seeds.items())
            texts.append(f"{row} / {name}: {column.metric} is no number on {column.split}, "
                         f"seed {which}")  # fmt: skip
        return texts

    def failed_texts(self) -> list[str]:
        """One for each trial that was given up; one for all of an arm that were for one reason."""
        alike: dict[tuple[Arm, str], dict[str, Trial]] = {}
        for trial in self.all_trials():
            if self.is_failed(trial):
                group = (trial.arm, self.failures[trial.key])
                alike.setdefault(group, {})[trial.key] = trial
        return [
            f"{f'{len(trials)} × ' if len(trials) > 1 else ''}"
            f"{next(iter(trials.values())).describe()}"
            f"{' and alike' if len(trials) > 1 else ''}: {reason}"
            for (_, reason), trials in alike.items()
        ]

    def held_texts(self) -> list[str]:
        """One for each arm whose rest waits: how many trials those are."""
        texts = []
        for arm in self.held:
            count = sum(t.arm == arm for role in ("grid", "final") for t in self.missing(role))
            if count:
                texts.append(f"{' / '.join(arm)}: {count} trials that would fail alike")
        return texts

    @property
    def has_results(self) -> bool:
        return any(trial.key in self.results for trial in self.all_trials())

    def missing(self, role: str) -> list[Trial]:
        """Neither finished nor given up, each key once, in the order of the file."""
        arms = self.grid if role == "grid" else self.finals
        wanted = {trial.key: trial for trials in arms.values() for trial in trials}
        return [
            trial
            for trial in wanted.values()
            if not self.is_finished(trial) and not self.is_failed(trial)
        ]

    def all_trials(self) -> list[Trial]:
        return [trial for arms in (self.grid, self.finals) for ts in arms.values() for trial in ts]

    @property
    def is_complete(self) -> bool:
        return (
            not self.gaps
            and not self.unselected
            and not self.undefined
            and all(
                self.is_finished(trial) and not self.refusal(trial) for trial in self.all_trials()
            )
            and all(selection is not None for selection in self.selections.values())
        )


def grid_trials(
    experiment: Experiment, recipes: Mapping[str, Mapping[str, Any]]
) -> dict[Arm, tuple[Trial, ...]]:
    """Every (row, dataset)'s grid, over its seeds; empty for trivial rows."""
    return {
        (row, dataset): tuple(
            experiment.trial(row, dataset, point, seed, "grid", recipes[dataset])
            for point in experiment.rows[row].grids[dataset]
            for seed in experiment.seeds(row, "grid")
        )
        for row, dataset in experiment.arms()
        if dataset in recipes
    }


def make_plan(
    experiment: Experiment,
    recipes: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Result],
    failures: Mapping[str, str],
    gaps: Mapping[str, Gap],
    grid: Mapping[Arm, tuple[Trial, ...]] | None = None,
) -> Plan:
    """grid: of `grid_trials` for these recipes, where it was made before."""
    if grid is None:
        grid = grid_trials(experiment, recipes)
    score = experiment.space.training.select
    selections: dict[Arm, Selection | None] = {}
    finals: dict[Arm, tuple[Trial, ...]] = {}
    unselected = []
    for arm, trials in grid.items():
        row, dataset = arm
        if experiment.rows[row].trivial:
            point: Mapping[str, float] = {}
        elif any(t.key not in results and t.key not in failures for t in trials):
            unselected.append(arm)
            continue
        else:
            selections[arm] = chosen = select(trials, results, score, experiment.rows[row].ties)
            if chosen is None:
                continue
            point = chosen.point
        finals[arm] = tuple(
            experiment.trial(row, dataset, point, seed, "final", recipes[dataset])
            for seed in experiment.seeds(row, "final")
        )
    return Plan(experiment, grid, finals, selections, tuple(unselected), results, failures, gaps)
