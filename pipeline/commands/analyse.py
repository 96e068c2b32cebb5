"""Find which linear action of the group the latent of a trained network carries.

Beside an untrained network and shuffled orbits; kept for the report, and in MLflow.

Example: equigrid analyse quickstart "Ours/C4"
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Name, Profile, Root, open_ledger, warn
from equigrid.errors import InputError
from equigrid.planning.find_run import find_record
from equigrid.planning.open_run import open_run_or_refuse
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting.assembly import assemble
from equigrid.reporting.formats import DASH
from equigrid.stages.tables import report as write_report
from equigrid.tracking.store import Store
from equigrid.tracking.writer import Writer
from equigrid.trial import Trial

#: A multiplicity below it is none.
SEEN = 0.05


def analyse(
    name: Name,
    what: Annotated[
        str | None,
        typer.Argument(
            help="ROW/COLUMN, a run key or an MLflow run id; else one seed of each row."
        ),
    ] = None,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
) -> None:
    ledger = open_ledger(name, profile, workspace)
    found = ledger.known()
    for record, split in wanted(found, ledger.workspace, what):
        for part in shown(record, analysed(record, split, ledger.workspace, ledger.store)):
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    if fault := write_report(found, assemble(found), ledger.workspace):
        warn(fault)


def wanted(plan: Plan, workspace: Workspace, what: str | None) -> list[tuple[Record, str]]:
    """(record, split) of all seeds of `ROW/COLUMN`, of one run, or without either of the first
    seed of each row and dataset. InputError where there is none.
    """
    space = plan.experiment.space
    splits = {column.dataset: column.split for column in reversed(space.columns.values())}
    if what is not None and "/" not in what:
        record = find_record(workspace, what, plan)
        if record.trial.dataset not in splits:
            raise InputError(f"{what}: not a run of {plan.experiment.full_name}")
        return [(record, splits[record.trial.dataset])]
    if what is not None:
        row, column = plan.experiment.cell(what)
        chosen = space.columns[column]
        trials = list(plan.finals.get((row, chosen.dataset), ()))
        splits[chosen.dataset] = chosen.split
    else:
        trials = [trials[0] for trials in plan.finals.values() if trials]
    record_of = workspace.record
    found = [(record_of(t.key), splits[t.dataset]) for t in trials if _has(t)]
    known = [(record, split) for record, split in found if record is not None]
    if not known:
        raise InputError(f"{what or plan.experiment.full_name}: no finished network is here")
    return known


def _has(trial: Trial) -> bool:
    """Whether there is a network to look into."""
    return bool(trial.training) and trial.model["name"] != "no_network"


def analysed(record: Record, split: str, workspace: Workspace, store: Store) -> Mapping[str, Any]:
    """The analysis of a run, kept in the workspace and, where it is tracked, in MLflow."""
    # torch takes a second to import, which `--help` need not.
    from equigrid.training import analysis
    from equigrid.training.model import build_model

    run = open_run_or_refuse(workspace, record)
    untrained = build_model(record.trial, run.dataset, run.device).eval()
    found = {
        "run": record.key,
        **analysis.analyse(run.model, untrained, run.dataset, split, run.device),
    }
    workspace.keep_analysis(record.key, found)
    _track(store, record, found)
    return found


def _track(store: Store, record: Record, found: Mapping[str, Any]) -> None:
    """As an artifact of the run; a store that cannot be reached costs a line."""
    with tempfile.TemporaryDirectory() as folder, closing(Writer(store)) as writer:
        path = Path(folder) / "analysis.json"
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
        writer.record(record.trial, record)  # it may have been made without MLflow
        writer.file(record.trial, path)
        writer.flush()


def shown(record: Record, found: Mapping[str, Any]) -> Iterator[RichTable | str]:
    """For the terminal."""
    from equigrid.training.analysis import TRAINED

    networks = found["networks"]
    table = RichTable(title=record.trial.describe(), title_justify="left")
    table.add_column(f"{found['group']}, {found['split']}")
    for name in networks:
        table.add_column(name, justify="right")
    for label, name in (
        ("directions with latents", "rank"),
        ("held-out R², any linear action", "r_squared"),
        ("held-out R², left as they are", "r_squared_identity"),
        ("directions with an action", "kept"),
        ("held-out R² there, by the action", "r_squared_representation"),
        ("defect as a homomorphism", "defect"),
    ):
        table.add_row(label, *(_number(it[name]) for it in networks.values()))
    there = [
        any(abs(it["multiplicities"][n]) > SEEN for it in networks.values())
        for n in range(len(found["irreducibles"]))
    ]
    for n, (name, dimension) in enumerate(found["irreducibles"]):
        if not there[n]:
            continue
        cells = []
        for network, it in networks.items():
            if not it["kept"]:
                cells.append(DASH)
                continue
            text = f"{_number(it['multiplicities'][n])} of {_number(it['regular'][n])}"
            if network == TRAINED:
                text += f" ({round(it['mean'][n], 6) + 0.0:.2f} ± {it['sd'][n]:.2f})"
            cells.append(text)
        table.add_row(f"{name} (dimension {dimension})", *cells)
    yield table
    if any(there) and not all(there):
        yield f"None of the other {there.count(False)} irreducible representations."
    for network, it in networks.items():
        if it["why"]:
            yield f"{network}: no linear action: {it['why']}."
    if found["inputs"] < found["inputs_wanted"]:
        yield f"{found['inputs']} inputs; 20 for each latent would be {found['inputs_wanted']}."
    if found["maps"]:
        yield "The latent is maps: of each its values at one orbit of grid points."


def _number(value: float | None) -> str:
    return DASH if value is None else f"{round(value, 6) + 0.0:.3g}"
