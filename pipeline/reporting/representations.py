"""Which representations were learned, and whether it was the network that chose them.

A mean and its standard error say little of counts: what is told is in how many of the runs they
are those of a multiple of the regular representation, of controls as of networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from equigrid.planning.plan import Plan
from equigrid.reporting.table import published_runs
from equigrid.symmetry import FiniteGroup
from equigrid.symmetry.characters import (
    Real,
    distance_to_regular,
    irreducibles,
    regular_multiplicities,
)

NETWORK, CONTROL = "learned_representation", "algebra_alone"
#: Counts are those of a representation when each rounds to them; near it, when none is further off.
SAME, NEAR = 0.5, 1.0
#: No count of a representation is further from a whole number, but for what training leaves.
WHOLE = 0.1


@dataclass(frozen=True)
class Counts:
    """by_seed: of each finished run how often each irreducible is in what it learned.

    inner: the same from the characters of all elements, where measured. Both are equal of a
    representation only.
    """

    row: str
    dataset: str
    group: FiniteGroup
    by_seed: Mapping[int, Real]
    inner: Mapping[int, Real] = field(default_factory=dict)

    @property
    def ended(self) -> set[int]:
        """The seeds in which what was learned is a representation: both counts are whole."""
        return {
            seed
            for seed, it in self.by_seed.items()
            if all(abs(n - np.rint(n)).max() < WHOLE for n in (it, self.inner.get(seed, it)))
        }

    def told(self) -> str:
        runs = [(it, self.inner.get(seed, it)) for seed, it in self.by_seed.items()]
        return f"{self.row} / {self.dataset}: {told(self.group, runs)}."


def told(group: FiniteGroup, runs: Sequence[tuple[Real, ...]]) -> str:
    """`3 of 5 runs at a multiple of the regular representation (21 × trivial, …), …`.

    runs: the counts of each, one or several ways; the furthest decides.
    """
    away = [max(distance_to_regular(group, counts) for counts in run) for run in runs]
    dimension = sum(m * it.dimension for m, it in zip(runs[0][0], irreducibles(group), strict=True))
    ideal = ", ".join(
        f"{count:g} × {it.name}"
        for count, it in zip(
            regular_multiplicities(group, round(dimension)), irreducibles(group), strict=True
        )
    )
    at, near = (sum(it < most or it == most == NEAR for it in away) for most in (SAME, NEAR))
    return (
        f"{at} of {len(runs)} runs at a multiple of the regular representation ({ideal}), "
        f"{near} of {len(runs)} within {NEAR:g} of it"
    )


def counted(plan: Plan, objective: str) -> Iterator[Counts]:
    """Of the rows with an objective, from the finals that are finished."""
    for (row, dataset), trials in plan.finals.items():
        if plan.experiment.rows[row].objective["name"] != objective:
            continue
        group = plan.experiment.datasets[dataset].builder.group
        found: dict[str, dict[int, Real]] = {"count": {}, "inner": {}}
        for trial in trials:
            result = plan.results.get(trial.key)
            for scores in (result.test or {}).values() if result else ():
                for kind, by_seed in found.items():
                    names = [f"{kind}_{n}" for n in range(len(irreducibles(group)))]
                    if names[0] in scores:
                        by_seed[trial.seed] = np.array([scores[name] for name in names])
        if found["count"]:
            yield Counts(row, dataset, group, found["count"], found["inner"])


def representation_notes(plan: Plan) -> list[str]:
    """What a table says below of learned representations; nothing where none is learned."""
    networks, controls = list(counted(plan, NETWORK)), list(counted(plan, CONTROL))
    notes = [it.told() for it in (*networks, *controls)]
    notes += _published(plan)
    for network in networks:
        for control in controls:
            if control.dataset == network.dataset and _same_start(plan, network.row, control.row):
                notes.append(compared(network, control))
    return notes


def _same_start(plan: Plan, network: str, control: str) -> bool:
    """Whether a control starts where a network's action does, and for the same algebra."""
    there = plan.experiment.rows[network].objective
    return all(
        there[name] == value
        for name, value in plan.experiment.rows[control].objective.items()
        if name != "name"
    )


def compared(network: Counts, control: Counts) -> str:
    seeds = sorted(network.ended & control.ended)
    same = sum(
        bool(abs(network.by_seed[seed] - control.by_seed[seed]).max() < SAME) for seed in seeds
    )
    text = (
        f"{network.row} and {control.row}, from the same starts: the same counts in {same} of "
        f"the {len(seeds)} seeds in which both ended as representations."
    )
    for counts in (network, control):
        if missing := sorted(counts.by_seed.keys() - counts.ended):
            named = f"seed{'s'[: len(missing) - 1]} {', '.join(map(str, missing))}"
            text += (
                f" {counts.row} did not in {named}: its counts, by the generators or by all "
                "elements, are no whole numbers."
            )
    if same < len(seeds):
        return text + (
            f" In {len(seeds) - same} the network ended elsewhere than the algebra loss alone "
            "leads."
        )
    return (
        text
        if not seeds
        else text
        + (
            " The algebra loss alone, without network or data, leads to the same representation: "
            "these counts are no evidence that the network prefers one."
        )
    )


def _published(plan: Plan) -> Iterator[str]:
    space = plan.experiment.space
    runs = published_runs(space.published) if space.published else ()
    columns = {
        int(column.metric.removeprefix("count_")): (name, column.dataset)
        for name, column in space.columns.items()
        if column.metric.startswith("count_") and runs and name in runs[0]
    }
    if columns:
        dataset = columns[min(columns)][1]
        group = plan.experiment.datasets[dataset].builder.group
        counts = [(np.array([run[columns[n][0]] for n in sorted(columns)]),) for run in runs]
        yield f"Published: {told(group, counts)}."
