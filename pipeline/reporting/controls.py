"""A method against its controls: what of its gain the group's action accounts for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from equigrid.config.experiment import Experiment
from equigrid.config.resolution import Row
from equigrid.lookup import objective_entry
from equigrid.metrics.direction import higher_is_better
from equigrid.reporting.comparison import FEWEST_SEEDS, Comparison
from equigrid.reporting.formats import interval

#: Objectives without the penalty, and what stands for ρ in it of a wrong one.
NO_PENALTY = ("two_views", "autoregressive_augmented")
WRONG_ACTIONS = ("scrambled", "identity")

Found = Mapping[tuple[str, str, str], Comparison]


def reference_of(experiment: Experiment) -> str | None:
    """The row that the others are shown against: as the search space has it.

    Where it names none, the last method that is to improve on a baseline, else the last method.
    """
    if experiment.space.reference is not None or experiment.space.layout == "runs":
        return experiment.space.reference
    methods = [r for r, it in experiment.rows.items() if not (it.trivial or it.control_of)]
    improving = [row for row in methods if experiment.rows[row].baseline]
    found = improving or methods
    return found[-1] if found else None


def pairs(experiment: Experiment) -> list[tuple[str, str]]:
    """(minuend, subtrahend) of the rows to compare, those with the reference row first.

    Each other row minus a reference that the search space names; the last method minus each other
    row where it names none. Of the rest a later row minus each earlier one; of a control only its
    method minus it, and it minus its method's baseline. None where a table is of runs.
    """
    if experiment.space.layout == "runs":
        return []
    trained = [row for row, method in experiment.rows.items() if not method.trivial]
    reference, is_named = reference_of(experiment), experiment.space.reference is not None
    found = with_reference(trained, reference, is_named=is_named)
    known = set(map(frozenset, found))
    return found + [pair for pair in _further(experiment, trained) if frozenset(pair) not in known]


def with_reference(
    rows: Iterable[str], reference: str | None, *, is_named: bool
) -> list[tuple[str, str]]:
    """(minuend, subtrahend): a reference that was named is what the others are measured by."""
    others = [row for row in rows if row != reference] if reference is not None else []
    return [(row, str(reference)) if is_named else (str(reference), row) for row in others]


def _further(experiment: Experiment, trained: Sequence[str]) -> list[tuple[str, str]]:
    controls = [row for row in trained if experiment.rows[row].control_of]
    methods = [row for row in trained if row not in controls]
    found = [(later, earlier) for earlier, later in itertools.combinations(methods, 2)]
    for row in controls:
        method = experiment.rows[row]
        found.append((method.control_of, row))
        if method.baseline:
            found.append((row, method.baseline))
    return found


def control_notes(experiment: Experiment, comparisons: tuple[Comparison, ...]) -> Iterator[str]:
    """For each method with controls a line on what they are, and one for each column."""
    found = {it.place: it for c in comparisons for it in (c.turned(), c)}
    for row, method in experiment.rows.items():
        controls = {name: it for name, it in experiment.rows.items() if it.control_of == row}
        if not controls:
            continue
        yield _what_they_are(row, method, controls, experiment)
        for name, column in experiment.space.columns.items():
            if any((row, control, name) in found for control in controls):
                text = _told(row, method, controls, name, found, higher_is_better(column.metric))
                yield f"{name}: {text}"


def _what_they_are(
    row: str, method: Row, controls: Mapping[str, Row], experiment: Experiment
) -> str:
    """Of each control the penalty; of all, encoder passes and steps."""
    told = []
    for name, control in controls.items():
        action = control.objective.get("action")
        if control.objective["name"] in NO_PENALTY:
            told.append(f"{name} has no penalty")
        elif action == "scrambled":
            told.append(f"{name} has the elements permuted, which is no action")
        elif action == "identity":
            told.append(f"{name} has the identity in place of every ρ(g)")
        else:
            told.append(f"{name} has another objective")
    compared = {row: method, **controls}
    if method.baseline:
        compared = {method.baseline: experiment.rows[method.baseline], **compared}
    passes = ", ".join(
        f"{name} {objective_entry(it.objective['name']).passes}" for name, it in compared.items()
    )
    sizes = sorted({
        (-(-dataset.builder.train_size // it.training.batch_size)) * it.training.epochs
        for dataset in experiment.datasets.values()
        for it in compared.values()
    })  # fmt: skip
    steps = " or ".join(f"{size:,}".replace(",", " ") for size in sizes)
    return (
        f"Controls of {row}, with its model, training and grid: {'; '.join(told)}. At most {steps} "
        f"steps each; encoder passes a sample and step: {passes}."
    )


def _told(
    row: str,
    method: Row,
    controls: Mapping[str, Row],
    column: str,
    found: Found,
    higher: bool | None,
) -> str:
    """What the intervals of one column allow to say, and no more."""
    sentences = []
    gain = found.get((row, method.baseline, column))
    if gain is not None:
        text = f"{row} − {method.baseline} {interval(gain)}"
        if not _is_gain(gain, higher):
            text += ", no established gain" if _has_interval(gain) else ""
        sentences.append(text)
    for name, control in controls.items():
        if control.objective["name"] not in NO_PENALTY:
            continue
        views, rest = found.get((name, method.baseline, column)), found.get((row, name, column))
        if views is not None:
            share = ""
            if gain is not None and _is_gain(gain, higher):
                share = f", {100 * views.mean / gain.mean:.0f} % of it"
            sentences.append(f"the second view alone {interval(views)}{share}")
        if rest is not None:
            sentences.append(f"the penalty on top of it {interval(rest)}{_zero(rest)}")
    wrong = [
        difference
        for name, control in controls.items()
        if control.objective.get("action") in WRONG_ACTIONS
        and (difference := found.get((row, name, column))) is not None
    ]
    for difference in wrong:
        text = f"{row} − {difference.subtrahend} {interval(difference)}{_zero(difference)}"
        sentences.append(text)
    if wrong:
        sentences.append(_verdict(wrong, higher))
    return "; ".join(sentences) + "."


def _has_interval(comparison: Comparison) -> bool:
    return comparison.half_width is not None and comparison.n == comparison.wanted


def _side(comparison: Comparison, higher: bool | None) -> int:
    """1 where the interval lies on the minuend's good side, −1 on its bad one, 0 around zero."""
    if comparison.low is None or comparison.high is None or comparison.low * comparison.high <= 0:
        return 0
    return 1 if (comparison.mean > 0) == bool(higher) else -1


def _is_gain(comparison: Comparison, higher: bool | None) -> bool:
    return _has_interval(comparison) and _side(comparison, higher) > 0


def _zero(comparison: Comparison) -> str:
    return " (contains zero)" if _has_interval(comparison) and not _side(comparison, True) else ""


def _verdict(wrong: list[Comparison], higher: bool | None) -> str:
    """Whether the right action differs from the wrong ones."""
    if not all(map(_has_interval, wrong)):
        return f"seeds are missing or fewer than {FEWEST_SEEDS}: nothing is said of the action"
    sides = [_side(it, higher) for it in wrong]
    if min(sides) > 0:
        return "the group's own action does better than a wrong one"
    if min(sides) < 0:
        return "a wrong action does better than the group's own"
    return "the group's own action is not told apart from a wrong one"
