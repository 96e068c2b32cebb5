"""What an experiment has finished leaves the workspace as one file."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from equigrid.config.experiment import Experiment, load_experiment
from equigrid.errors import InputError
from equigrid.exchange.bundle import TABLES, TRIALS, is_bundle, write_bundle
from equigrid.planning.ledger import Ledger
from equigrid.version import __version__

log = logging.getLogger("equigrid")


def export(ledger: Ledger, path: Path) -> int:
    """Write the bundle of an experiment; returns the number of records in it.

    It holds the record of every finished grid and final trial, the table's files as they are and
    the search space; trials that were given up are not in it. Says how many trials are missing.
    Raises InputError where nothing is finished or `path` is something else than a bundle.
    """
    if path.exists() and not is_bundle(path):
        raise InputError(f"{path}: is there already and no bundle; give another name")
    experiment, workspace = ledger.experiment, ledger.workspace
    plan = ledger.known_with(None)
    finished = [trial for trial in plan.all_trials() if plan.is_finished(trial)]
    records = {key: workspace.record(key) for key in sorted({trial.key for trial in finished})}
    contents = {
        f"records/{key}.json": record.to_json().encode()
        for key, record in records.items()
        if record is not None  # damaged since the plan was made; it was said
    }
    if not contents:
        raise InputError(f"{experiment.full_name}: nothing is finished in {workspace.root}")
    count = len(contents)
    places = {(t.experiment, t.row, t.dataset, t.role, t.key) for t in finished}
    contents[TRIALS] = json.dumps(sorted(places), indent=0).encode()
    contents[f"search_space/{experiment.name}.yaml"] = _search_space(experiment)
    folder = workspace.tables(experiment.full_name)
    contents |= {
        f"tables/{name}": (folder / name).read_bytes()
        for name in TABLES
        if (folder / name).is_file()
    }
    wanted = sum(
        len(experiment.rows[row].grids[dataset]) * len(experiment.seeds(row, "grid"))
        + len(experiment.seeds(row, "final"))
        for row, dataset in experiment.arms()
    )
    missing = wanted - sum(records[trial.key] is not None for trial in finished)
    about = {"experiment": experiment.full_name, "equigrid": __version__, "missing": str(missing)}
    write_bundle(path, contents, about)
    if missing:
        log.warning(
            "%s: %d of %d trials are not in it: unfinished or given up", path, missing, wanted
        )
    return count


def _search_space(experiment: Experiment) -> bytes:
    """The file the experiment was loaded from; it may have been edited since."""
    path = experiment.file
    if path.is_file():
        content = path.read_bytes()
        if load_experiment(str(path), experiment.profile).space == experiment.space:
            return content
    raise InputError(f"{experiment.folder}: no {path.name} with this experiment's settings")
