"""Go from a cell to its runs, configuration, data and environment; or from a run to its cells.

Example: equigrid show quickstart "Ours/C4"
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.commands import external
from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, open_ledger
from equigrid.errors import InputError
from equigrid.planning.find_run import matching_keys
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting import formats
from equigrid.reporting.assembly import assemble
from equigrid.trial import Trial, point_text, symbol

#: A run id or run key, or enough of its beginning.
RUN = re.compile(r"[0-9a-f]{6,64}")
#: Runs that a refusal names at most.
LISTED = 8


def show(
    name: Name,
    what: Annotated[str, typer.Argument(help="ROW/COLUMN, an MLflow run id, or a run key.")],
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    if (runs := external.opened(name, profile, workspace)) is not None:
        external.show(runs, what)
        return
    ledger = open_ledger(name, profile, workspace)
    for part in details(ledger.known(), ledger.workspace, what):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))


def details(plan: Plan, workspace: Workspace, what: str) -> Iterator[RenderableType]:
    """`ROW/COLUMN`, or a run by its MLflow id or run key; InputError where there is none."""
    if RUN.fullmatch(what):
        return show_run(plan, workspace, what)
    if what in plan.experiment.rows:
        cells = ", ".join(f"{row}/{column}" for row, column in plan.experiment.cells()
                          if row == what)  # fmt: skip
        raise InputError(f"{what!r} is a row; its cells are: {cells}")
    if "/" not in what:
        raise InputError(f"{what!r} is neither ROW/COLUMN nor a run; {_runs(plan)}; {_cells(plan)}")
    return show_cell(plan, workspace, *plan.experiment.cell(what))


def _cells(plan: Plan) -> str:
    return "cells: " + ", ".join(f"{row}/{column}" for row, column in plan.experiment.cells())


def _runs(plan: Plan) -> str:
    """The beginnings of the run keys of what is finished."""
    known = {t.key: t for t in plan.all_trials() if plan.is_finished(t)}
    shown = [f"{key[:12]} ({trial.describe()})" for key, trial in list(known.items())[:LISTED]]
    more = [f"{len(known) - LISTED} more"] if len(known) > LISTED else []
    return "runs: " + (", ".join(shown + more) or "none is finished")


def show_cell(plan: Plan, workspace: Workspace, row: str, column: str) -> Iterator[RenderableType]:
    table = assemble(plan)
    cell = table.cells[row, column]
    arm = (row, cell.dataset)
    yield f"[bold]{escape(f'{row} / {column}')}[/]  {escape(formats.score(cell))}"
    name = plan.experiment.full_name
    yield f"{cell.split} {cell.metric} of dataset {escape(cell.dataset)}, {name}"
    if cell.published is not None:
        text = f"published {formats.published(cell)}, difference "
        text += formats.difference(table, row, column)
        if verdict := table.verdicts.get((row, column)):
            ps = (("equivalence", verdict.p_equivalence), ("difference", verdict.p_difference))
            text += "".join(f", p of {name} {p:.3g}" for name, p in ps if p is not None)
        yield escape(text)
    selection = plan.selections.get(arm)
    if selection is not None:
        point = point_text(selection.point)
        yield escape(
            f"selected {point}: {plan.experiment.space.training.select} {selection.score:.4f}, the "
            f"best of {selection.candidates}; ties: {_ties(plan, row)}; no test data is read"
        )
    score = plan.experiment.space.training.select
    for title, trials in (
        ("grid", plan.grid.get(arm, ())),
        ("finals", plan.finals.get(arm, ())),
    ):
        if trials:
            yield _trials(plan, trials, title, score, (cell.split, cell.metric))
    for text in cell.doubts:
        yield escape(f"{formats.DOUBT} {text}")
    finals = [t for t in plan.finals.get(arm, ()) if plan.is_finished(t)]
    records = [workspace.record(trial.key) for trial in finals]
    known = [record for record in records if record is not None]
    if finals:
        yield from _configuration(finals[0])
    yield from _origin(known)


def _ties(plan: Plan, row: str) -> str:
    return ", then ".join(f"lower {symbol(name)}" for name in plan.experiment.rows[row].ties)


def _trials(
    plan: Plan, trials: Sequence[Trial], title: str, score: str, tested: tuple[str, str]
) -> RichTable:
    shown = RichTable(title=title, title_justify="left")
    split, metric = tested
    is_grid = title == "grid"
    for heading in ("point", "seed", score, *(() if is_grid else (f"{split} {metric}",)),
                    "MLflow run", "run key", "state"):  # fmt: skip
        shown.add_column(heading)
    for trial in trials:
        result = plan.results.get(trial.key)
        value = result.validation.get(score) if result else None
        test = result.score(split, metric) if result and not is_grid else None
        run = plan.tracked.run(trial) if plan.tracked else None
        line = [
            trial.point() or formats.DASH,
            str(trial.seed),
            formats.DASH if value is None else f"{value:.4f}",
        ]
        if not is_grid:
            line.append(formats.DASH if test is None else f"{test:.4f}")
        line += [run.run_id if run else formats.DASH, trial.key[:12], state(plan, trial)]
        shown.add_row(*map(escape, line))
    return shown


def state(plan: Plan, trial: Trial) -> str:
    """`finished`, `finished †` with what is wrong, `failed: …` or `missing`."""
    if plan.is_finished(trial):
        doubt = plan.doubt(trial)
        return f"finished {formats.DOUBT} {doubt}" if doubt else "finished"
    if plan.is_failed(trial):
        return f"failed: {plan.failures[trial.key]}"
    return "missing"


def _configuration(trial: Trial) -> Iterator[str]:
    yield "[bold]configuration[/]"
    parts: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("model", trial.model), ("objective", trial.objective), ("training", trial.training),
        ("data", trial.data),
    )  # fmt: skip
    for name, part in parts:
        yield escape(f"  {name:<10} {json.dumps(dict(part), ensure_ascii=False)}")
    for name, digest in trial.all_code.items():
        yield escape(f"  {'code':<10} {name} {digest[:12]}")


def _origin(records: Sequence[Record]) -> Iterator[str]:
    """Data hash, commit and environment; what differs between the runs is listed by seed."""
    if not records:
        yield "no record of its finals is here"
        return
    yield "[bold]where the finals come from[/]"
    facts = [
        {
            "data SHA-256": record.data_sha256,
            "training version": str(record.trial.training_version),
            **record.environment,
            **{f"code of {n}": _sources(record, it) for n, it in record.trial.all_code.items()},
        }
        for record in records
    ]
    for name in dict.fromkeys(name for fact in facts for name in fact):
        values = {fact.get(name, "") for fact in facts}
        if len(values) == 1:
            text = values.pop()
        else:
            text = "; ".join(
                f"seed {record.trial.seed}: {fact.get(name, '')}"
                for record, fact in zip(records, facts, strict=True)
            )
        yield escape(f"  {name:<14} {text}")


def _sources(record: Record, digest: str) -> str:
    """The files that a fingerprint was taken of: their texts are in the record."""
    return f"{digest[:12]} ({', '.join(record.sources[digest])})"


def show_run(plan: Plan, workspace: Workspace, what: str) -> Iterator[RenderableType]:
    keys = matching_keys(workspace, what, plan)
    trials = [trial for trial in plan.all_trials() if trial.key in keys]  # grid before final
    if not trials:
        raise InputError(
            f"{what}: no run or run key of {plan.experiment.full_name} begins with this; "
            f"{_runs(plan)}"
        )
    if len({trial.key for trial in trials}) > 1:
        raise InputError(f"{what}: {len(trials)} runs begin with this; give more of it")
    trial = trials[-1]
    yield f"[bold]{escape(trial.describe())}[/]"
    yield f"run key {trial.key}"
    for each in trials:
        run = plan.tracked.run(each) if plan.tracked else None
        tracked = f"MLflow run {run.run_id}, {run.status}" if run else "not in MLflow"
        yield escape(f"as {each.role}: {state(plan, each)}; {tracked}")
    result = plan.results.get(trial.key)
    if result is not None:
        scores = [f"{name} {value:.4f}" for name, value in result.validation.items()]
        tests = [
            f"{split}/{name} {value:.4f}"
            for split, values in (result.test or {}).items()
            for name, value in values.items()
        ]
        yield escape("best epoch: " + (", ".join(scores) or formats.DASH))
        yield escape("tests: " + (", ".join(tests) or formats.DASH))
    if (printed := workspace.printed_file(trial.key)).exists():
        yield escape(f"its code printed: {printed}")
    yield from _feeds(plan, trials)
    yield from _configuration(trial)
    record = workspace.record(trial.key)
    yield from _origin([record] if record else [])


def _feeds(plan: Plan, trials: Sequence[Trial]) -> Iterator[str]:
    columns = plan.experiment.space.columns
    for trial in trials:
        row, dataset = trial.arm
        cells = [f"{row}/{name}" for name, column in columns.items() if column.dataset == dataset]
        selection = plan.selections.get(trial.arm)
        if trial.role == "final":
            yield escape(f"feeds {', '.join(cells)} as seed {trial.seed}")
        elif selection is not None:
            chosen = dict(selection.point) == dict(trial.hyperparameters)
            word = "was chosen" if chosen else "was not chosen"
            yield escape(
                f"{word} among the {selection.candidates} grid points of {', '.join(cells)}"
            )
        else:
            yield escape(f"is a grid point of {', '.join(cells)}; nothing is selected yet")
