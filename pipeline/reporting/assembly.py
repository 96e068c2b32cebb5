"""Assemble a plan's table: cells, verdicts, paired differences, notes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from equigrid.config.experiment import Experiment
from equigrid.lookup import model_entry
from equigrid.metrics.direction import (
    higher_is_better,
    is_objectives_own,
    is_share,
    margin_of,
)
from equigrid.planning.plan import Plan
from equigrid.record import Result
from equigrid.reporting import formats
from equigrid.reporting.comparison import FEWEST_SEEDS, compare, findings
from equigrid.reporting.controls import control_notes, pairs, reference_of
from equigrid.reporting.representations import representation_notes
from equigrid.reporting.style import Style
from equigrid.reporting.table import (
    LATENT_MEASURES,
    Cell,
    Table,
    published_runs,
    published_table,
)
from equigrid.reporting.verdicts import ALPHA, Question, binomial_variance, verdicts
from equigrid.reporting.words import short
from equigrid.trial import TRAINING_VERSION, in_order, symbol


def assemble(plan: Plan) -> Table:
    """The table of a plan's results. Nothing of when or how fast they were obtained goes in."""
    experiment = plan.experiment
    space = experiment.space
    published = published_table(space.published) if space.published else {}
    style = Style(**space.table.model_dump())
    cells = {}
    for row, name in experiment.cells():
        column = space.columns[name]
        arm = (row, column.dataset)
        trials = plan.finals.get(arm, ())
        done = {t.seed: plan.results[t.key] for t in trials if plan.is_finished(t)}
        scores = {
            seed: score
            for seed, result in done.items()
            if (score := result.score(column.split, column.metric)) is not None
        }
        # What an objective measures itself it may not find, and another objective not at all.
        own = is_objectives_own(column.metric) or bool(experiment.rows[row].scores)
        undefined = len(plan.undefined.get((row, name), ()))
        measured = len(scores) + undefined
        unmeasured = sum(bool(it.test) for it in done.values()) - measured if own else 0
        selection = plan.selections.get(arm)
        cells[row, name] = Cell(
            dataset=column.dataset,
            split=column.split,
            metric=column.metric,
            values=tuple(scores.values()),
            wanted=len(experiment.seeds(row, "final")) - unmeasured,
            gap=_gap(plan, arm) or (f"{undefined} undefined" if undefined else ""),
            point=selection.point if selection else {},
            latents=_latents(experiment, row, done.values()),
            parameters=next((result.parameters for result in done.values()), None),
            published=published.get(row, {}).get(name),
            seeds=tuple(scores),
            doubts=tuple(
                f"{row} / {column.dataset} seed {trial.seed} ({trial.role}): {doubt}"
                for trial in (*plan.grid[arm], *trials)
                if (doubt := plan.doubt(trial))
            )
            if arm in plan.grid
            else (),
            style=style,
        )
    table = Table(
        name=experiment.full_name,
        title=_title(plan),
        rows=tuple(experiment.rows),
        columns=tuple(space.columns),
        trivial_rows=frozenset(row for row, method in experiment.rows.items() if method.trivial),
        higher_is_better={
            name: higher_is_better(column.metric) for name, column in space.columns.items()
        },
        cells=cells,
        notes=(),
        layout=space.layout,
        reference=reference_of(experiment),
        style=style,
        published_runs=published_runs(space.published) if space.published else (),
        controls={row: it.control_of for row, it in experiment.rows.items() if it.control_of},
    )
    table = compared(
        table,
        _questions(experiment, cells) if experiment.has_verdicts else {},
        pairs(experiment),
    )
    told = (*representation_notes(plan), *control_notes(experiment, table.comparisons))
    return noted(table, _notes(plan), told, space.notes)


def compared(
    table: Table, questions: Mapping[tuple[str, str], Question], wanted: Iterable[tuple[str, str]]
) -> Table:
    """A table of cells with its verdicts and paired differences, whoever trained them.

    wanted: (minuend, subtrahend) of the rows to compare.
    """
    found = []
    for minuend, subtrahend in wanted:
        for column in table.columns:
            a, b = table.cells[minuend, column], table.cells[subtrahend, column]
            difference = compare(
                minuend, dict(zip(a.seeds, a.values, strict=True)),
                subtrahend, dict(zip(b.seeds, b.values, strict=True)), column,
                min(a.wanted, b.wanted), a.metric, a.style,
            )  # fmt: skip
            if difference is not None:
                found.append(difference)
    table = replace(table, verdicts=verdicts(questions), comparisons=tuple(found))
    outcomes = findings(table.against_reference(), table.higher_is_better)
    return replace(table, outcomes=outcomes)


def noted(table: Table, made: Iterable[str], told: Sequence[str], further: Iterable[str]) -> Table:
    """A table with its notes. made: how it was made. told: what a reader should see first.

    further: the search space's own.
    """
    notes = (*made, *_readings(table), *_margins(table), *told, *_doubts(table), *further)
    return replace(table, notes=notes, findings=tuple(told))


def _latents(
    experiment: Experiment, row: str, results: Iterable[Result]
) -> dict[str, tuple[float, ...]]:
    """Of each measure one number per seed.

    Of latents that are invariant by construction only what is measured without the regular
    representation: that they do not follow it is no fault.
    """
    method = experiment.rows[row]
    names = list(LATENT_MEASURES)
    if not method.trivial and model_entry(method.model["name"]).invariant:
        names = ["invariance_error"]
    found = {
        name: tuple(
            result.validation[f"val_{name}"]
            for result in results
            if f"val_{name}" in result.validation
        )
        for name in names
    }
    return {name: values for name, values in found.items() if values}


def _questions(
    experiment: Experiment, cells: Mapping[tuple[str, str], Cell]
) -> dict[tuple[str, str], Question]:
    """Of whole cells with a published value. Trivial rows have one seed: nothing to test."""
    questions = {}
    for (row, name), cell in cells.items():
        if cell.published is None or not cell.is_whole:
            continue
        column = experiment.space.columns[name]
        margin = column.margin or margin_of(column.metric, cell.published.mean)
        drawn = experiment.datasets[column.dataset].builder.drawn_tests.get(column.split)
        share = drawn if column.metric == "accuracy" else None
        shared = binomial_variance(cell.values, share) if share else 0.0
        questions[row, name] = Question(cell.values, cell.published, margin, shared)
    return questions


def _doubts(table: Table) -> list[str]:
    texts = dict.fromkeys(doubt for cell in table.cells.values() for doubt in cell.doubts)
    return [f"{formats.DOUBT} {text}." for text in texts]


def _drawn(experiment: Experiment) -> str:
    """What verdicts add where all seeds share test samples that were drawn."""
    columns = experiment.space.columns.values()
    sizes = {
        size
        for column in columns
        if column.metric == "accuracy"
        and (size := experiment.datasets[column.dataset].builder.drawn_tests.get(column.split))
    }
    if not sizes:
        return ""
    named = " or ".join(map(str, sorted(sizes)))
    return (
        f" All seeds share one draw of test samples: p(1 − p)/N (N {named}) is added to the "
        "variance of our mean accuracy p."
    )


def _readings(table: Table) -> Iterator[str]:
    """How the further tables are to be read."""
    if table.comparisons:
        marks = ", ".join(f"{formats.MARKS[it]} {it}" for it in formats.marks_of(table))
        yield (
            f"Paired differences with {table.reference}: {marks} of the first named row, by the "
            f"paired t-test at {100 * ALPHA:g} % over all {len(table.outcomes)} of them (Holm). "
            "Each interval is a 95 % interval by itself, not adjusted. They hold for the data that "
            f"all seeds share. comparisons.csv has all pairs ({len(table.comparisons)})."
            if table.outcomes
            else f"Paired differences with {table.reference}: not tested, which needs "
            f"{FEWEST_SEEDS} seeds and all that are wanted. comparisons.csv has all pairs."
        )
    if table.latent_measures():
        yield (
            "Latents, on validation: Σ‖ρ(g)E(x) − E(gx)‖² / Σ‖E(gx) − mean‖² with the group's "
            "regular representation as ρ, with mean latents removed first, and with the identity "
            "for ρ; the share of the latents' variance that every ρ(g) fixes (1: invariant). "
            f"{formats.DASH}: not measured, or invariant by construction."
        )


def _margins(table: Table) -> list[str]:
    """Whether the trained cells are clearly better than no training at all."""
    margins = {cell: table.margin(*cell) for cell in table.cells}
    known = {cell: margin for cell, margin in margins.items() if margin is not None}
    if not known:
        return []
    close = [f"{row} / {column}" for (row, column), margin in known.items() if margin < 3]
    if close:
        return [f"Not 3 standard errors better than the trivial row: {', '.join(close)}."]
    least = min(known.values())
    by = f"by at least {least:.0f} of its" if math.isfinite(least) else "by any number of"
    return [
        f"Each trained cell of two seeds or more beats the trivial row {by} standard errors "
        "(sample std / √n)."
    ]


def _gap(plan: Plan, arm: tuple[str, str]) -> str:
    """Why a cell is not whole; empty where it is."""
    row, dataset = arm
    if dataset in plan.gaps:
        return plan.gaps[dataset].label  # the reason stands below, a line for each dataset
    trials = plan.grid[arm]
    done = sum(map(plan.is_finished, trials))
    failed = [trial for trial in trials if plan.is_failed(trial)]
    if arm in plan.unselected or (trials and not done):
        parts = [f"grid {done}/{len(trials)} done"]
    elif failed:
        parts = [f"grid {done}/{len(trials)}"]
    else:
        parts = []
    finals = plan.finals.get(arm, ())
    tested = sum(map(plan.is_finished, finals))
    wanted = len(plan.experiment.seeds(row, "final"))
    if tested < wanted and arm not in plan.unselected:
        parts.append(f"{tested}/{wanted} seeds")
    failed += [trial for trial in finals if plan.is_failed(trial)]
    if failed:
        parts.append(f"{len({trial.key for trial in failed})} failed")
    return ", ".join(parts)


def _title(plan: Plan) -> str:
    experiment = plan.experiment
    title = experiment.space.title or experiment.name
    return f"{title} (profile {experiment.profile})" if experiment.profile else title


def selection_text(plan: Plan, arm: tuple[str, str]) -> str:
    """`Ours / C4: lr 0.003, λ 0.5 (best of 4 by val_accuracy, 0.8500)`; the name alone without."""
    row, dataset = arm
    selection = plan.selections.get(arm)
    if selection is None:
        return f"{row} / {dataset}"
    point = ", ".join(
        f"{symbol(name)} {selection.point[name]:g}" for name in in_order(selection.point)
    )
    of = f" of {selection.candidates}" if selection.candidates > 1 else ""
    select = short(plan.experiment.space.training.select)
    return f"{row} / {dataset}: {point} (best{of} by {select}, {selection.score:.4f})"


def _notes(plan: Plan) -> list[str]:
    experiment, space = plan.experiment, plan.experiment.space
    percent = space.table.percent
    metrics = ", ".join(
        f"{short(metric)}{' in per cent' if percent and is_share(metric) else ''}"
        f"{' (lower is better)' if higher_is_better(metric) is False else ''}"
        for metric in dict.fromkeys(column.metric for column in space.columns.values())
    )
    notes = [
        f"Test {metrics}: mean ({space.table.deviation} standard deviation), n seeds; the "
        f"{'last' if space.training.tested == 'last' else 'best-validation'} "
        f"weights of at most {space.training.epochs} epochs of batches of "
        f"{space.training.batch_size} are tested."
    ]
    for row, spec in space.rows.items():
        if spec.training:
            own = ", ".join(f"{name} {value}" for name, value in spec.training.items())
            notes.append(f"{row} is trained with {own}.")
    if experiment.training_version != TRAINING_VERSION:
        notes.append(
            f"Trained by version {experiment.training_version} of training; this is version "
            f"{TRAINING_VERSION}, and a run trains anew."
        )
    if space.published:
        source = (
            f"the paper's {space.published.replace('table', 'table ')}"
            if isinstance(space.published, str)
            else "as the search space gives them"
        )
        notes.append(f"Published figures: {source}.")
    if space.published and published_table(space.published):  # of means, not of runs
        notes.append(
            "Verdicts, at 5 % over the whole table (Holm): agrees = within the margin by two "
            "one-sided Welch tests; above, below = differs by Welch's test; else undecided."
            f"{_drawn(experiment)}"
            if experiment.has_verdicts
            else "The data are not the published ones: differences are shown, no verdicts."
            if experiment.is_published_setting
            else "This profile is not the published setting: differences are shown, no verdicts."
        )
    notes += [selection_text(plan, arm) for arm, it in plan.selections.items() if it is not None]
    for (row, dataset), trials in plan.finals.items():
        devices = {plan.results[t.key].device for t in trials if plan.is_finished(t)}
        if len(devices) > 1:
            notes.append(f"{row} / {dataset} mixes devices: {', '.join(sorted(devices))}.")
    notes += [f"{text}." for text in plan.undefined_texts()]
    notes += [f"No {dataset}, {gap.label}: {gap.reason}" for dataset, gap in plan.gaps.items()]
    failed = {t.key: t for t in plan.all_trials() if plan.is_failed(t)}
    notes += [f"Failed: {t.describe()}: {plan.failures[k]}" for k, t in failed.items()]
    return notes
