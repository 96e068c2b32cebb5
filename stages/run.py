"""The five stages in order: what `equigrid run` does, readable top to bottom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from equigrid.config.experiment import Experiment
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import PreparedData
from equigrid.errors import InputError, MissingRawDataError
from equigrid.orchestration.dispatch import Dispatcher
from equigrid.orchestration.run_missing import ProgressListener, RunContext
from equigrid.planning.ledger import Ledger
from equigrid.planning.missing import changes, missing_trainings
from equigrid.planning.plan import Arm, Gap, Plan
from equigrid.planning.workspace import Workspace
from equigrid.reporting.publishing import publish
from equigrid.reporting.table import Table
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.stages.final_runs import final_runs
from equigrid.stages.grid import grid
from equigrid.stages.tables import report, tables
from equigrid.tracking.cache import keep
from equigrid.tracking.writer import Writer
from equigrid.trial import data_key

log = logging.getLogger("equigrid")


@dataclass
class ExperimentData:
    """recipes by dataset; prepared files by data key; gaps: why a dataset could not be made."""

    recipes: dict[str, Mapping[str, Any]]
    prepared: dict[str, PreparedData]
    gaps: dict[str, Gap]

    def lose(self, name: str, gap: Gap) -> None:
        log.warning("%s", gap.reason)
        self.recipes.pop(name, None)
        self.gaps[name] = gap

    def check_any(self) -> None:
        if not self.recipes:
            raise InputError(f"no dataset can be made: {next(iter(self.gaps.values())).reason}")


@dataclass(frozen=True)
class Ended:
    """plan: as it ended. ran: trials that this run trained or tested. fault: of its report."""

    plan: Plan
    table: Table
    ran: int
    fault: str


def prepare_data(
    experiment: Experiment,
    workspace: Workspace,
    raw: RawStore,
    listener: ProgressListener,
    only: Collection[Arm] | None = None,
) -> ExperimentData:
    """Stages 1 and 2 for every dataset; one that cannot be made becomes a gap, the others go on.

    only: the (row, dataset) that will train; what other datasets have is known without their data.
    """
    data = ExperimentData({}, {}, {})
    base: dict[str, str] = {}
    needed = experiment.datasets if only is None else {dataset for _, dataset in only}
    listener.begin("data build")
    for name in experiment.datasets:
        recipe = experiment.recipe(name, raw)
        if name not in needed:
            data.recipes[name] = recipe
            continue

        def progress(done: int, total: int, name: str = name) -> None:
            listener.progress("data build", name, done, total)

        try:
            base[name] = data_build(workspace, recipe, raw, progress)
            # Only now: a file that was fetched may turn out to be another than the official one.
            data.recipes[name] = recipe
        except MissingRawDataError as error:
            data.lose(name, Gap(str(error)))
        except InputError as error:
            data.lose(name, Gap(str(error), data_key(recipe)))
    data.check_any()
    listener.end("data build", ", ".join(f"{name} {digest[:8]}" for name, digest in base.items()))
    listener.begin("augment cache")
    for name in list(base):
        made_from = data.recipes[name]

        def progress(done: int, total: int, name: str = name) -> None:
            listener.progress("augment cache", name, done, total)

        key = data_key(made_from)
        try:
            data.prepared[key] = augment_cache(workspace, made_from, base[name], progress)
        except InputError as error:
            data.lose(name, Gap(str(error), key))
    data.check_any()
    sizes = [
        workspace.cache_file(recipe).stat().st_size
        for name, recipe in data.recipes.items()
        if name in base
    ]
    listener.end("augment cache", f"{sum(sizes) / 1e6:.1f} MB")
    return data


def run(
    ledger: Ledger,
    make_dispatcher: Callable[[], Dispatcher],
    listener: ProgressListener,
    *,
    retry_failed: bool = False,
    only: Collection[Arm] | None = None,
) -> Ended:
    """From a search space to its table.

    only: the (row, dataset) whose trials may run, None for all.
    """
    experiment, workspace = ledger.experiment, ledger.workspace
    opened: list[Dispatcher] = []

    def dispatcher() -> Dispatcher:
        # Ray starts only when there is something to run, and once.
        if not opened:
            opened.append(make_dispatcher())
        return opened[0]

    with workspace.driver():
        workspace.take_name(experiment.full_name, experiment.folder, experiment.origin)
        for text in experiment.unseen_code():
            log.warning("%s", text)
        ledger.look()
        data = prepare_data(experiment, workspace, ledger.raw, listener, only)
        ledger.keep_data(data.recipes, data.gaps)
        if retry_failed:
            ledger.retry_failed()
        ledger.fetch_missing()
        plan = ledger.plan()
        with closing(Writer(ledger.store)) as writer:
            for text in changes(plan, ledger.index, workspace, missing_trainings(plan)):
                log.info("%s", text)
            context = RunContext(
                ledger, dispatcher, data.prepared, writer, listener, only, holds=not retry_failed
            )
            try:
                send_untracked(plan, workspace, writer)
                listener.begin("grid")
                ran = grid(plan, context)
                plan = ledger.plan()
                listener.end("grid", *_counts(plan, "grid", ran))

                listener.begin("final runs")
                tested = final_runs(plan, context)
                plan = ledger.plan()
                listener.end("final runs", *_counts(plan, "final", tested))
            finally:
                for each in opened:
                    each.close()
            listener.begin("tables")
            # Again: which finals there are is known only now, and some may have had a record.
            send_untracked(plan, workspace, writer)
            writer.flush()
            tracked = ledger.tracked()
            plan = replace(ledger.plan(), tracked=tracked)
            table = tables(plan, workspace)
            fault = report(plan, table, workspace)
            publish(plan, table, workspace, writer)
        ledger.index.save()
        if tracked is not None and not writer.unsent:
            # Only parents and the table were written since: the next command need not read again.
            keep(tracked, ledger.store, workspace.tracked_cache(experiment.full_name))
        listener.end("tables", str(workspace.tables(experiment.full_name)))
    return Ended(plan, table, ran + tested, fault)


def _counts(plan: Plan, role: str, ran: int) -> tuple[str, bool]:
    """A line for people, and whether everything failed."""
    arms = plan.grid if role == "grid" else plan.finals
    trials = [trial for arm in arms.values() for trial in arm]
    done = sum(map(plan.is_finished, trials))
    failed = sum(map(plan.is_failed, trials))
    note = f"{done}/{len(trials)} finished, {ran} run now" + (
        f", {failed} failed" if failed else ""
    )
    return note, bool(failed and not done)


def send_untracked(plan: Plan, workspace: Workspace, writer: Writer) -> None:
    """Queue every finished trial: the writer skips what MLflow has already."""
    for trial in plan.all_trials():
        if plan.is_finished(trial):
            writer.record(trial, workspace.record_file(trial.key))
        elif plan.is_failed(trial):
            writer.failure(trial, plan.failures[trial.key])
