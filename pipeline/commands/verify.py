"""Recompute every cell from run records and hold every run in MLflow against its record.

Of a table of tracked runs the store is read again, and what was written held against it.

Example: equigrid verify quickstart --repair
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from equigrid.commands import external
from equigrid.commands.output import console
from equigrid.commands.shared import ERROR, WORKSPACE, Name, Profile, Root, open_ledger, warn
from equigrid.datasets.store import read_arrays
from equigrid.errors import DamagedFileError, InputError, StoreError
from equigrid.external_runs.opened import holds_runs
from equigrid.files import sha256
from equigrid.planning.ledger import Ledger, place_of
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting.assembly import assemble
from equigrid.stages import tables as stage
from equigrid.tracking.cache import renew, stamp
from equigrid.tracking.store import Identity, Store, identity_of
from equigrid.tracking.writer import Writer
from equigrid.trial import CODE_SINCE, TRAINING_VERSION, Trial

if TYPE_CHECKING:
    from mlflow.entities import Run

#: Of training version 1, a file of weights begins with the digest of what follows.
DIGEST_SIZE = 32
#: Of a run's tags: those that a table or a selection depends on, or that say where it ran.
CHECKED_TAGS = ("data_sha256", "weights_sha256", "hardware", "git_commit", "seed")


def verify(
    name: Name,
    profile: Profile = None,
    workspace: Root = WORKSPACE,
    mend: Annotated[
        bool, typer.Option("--repair", help="Write what differs anew, from the records.")
    ] = False,
) -> None:
    if holds_runs(place_of(name, profile, Workspace(workspace))):
        external.verify(name, profile, workspace, repair=mend)
        return
    ledger = open_ledger(name, profile, workspace)
    found = examine(ledger)
    for finding in found.findings:
        warn(f"{finding.subject}: {finding.text}")
    if mend and found.findings:
        console.print(f"{repair(ledger, found)} runs written anew", highlight=False)
        ledger.reread()
        stage.tables(ledger.known(), ledger.workspace)
        found = examine(ledger)
        for finding in found.findings:
            warn(f"still: {finding.subject}: {finding.text}")
    for text in found.unknown:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{found.runs} runs and {found.cells} cells: "
        + (f"{len(found.findings)} do not match" if found.findings else "all match")
        + f"; weights of {found.weights.read} trainings read, {found.weights.size / 1e6:.1f} MB"
        + (f", of {found.weights.absent} not here" if found.weights.absent else ""),
        highlight=False,
    )
    if found.findings:
        raise typer.Exit(ERROR)


@dataclass(frozen=True)
class Finding:
    """subject: a run, a cell or a file. trial: what can be sent again to mend it, if anything.

    run_ids: MLflow runs to delete first.
    """

    subject: str
    text: str
    trial: Trial | None = None
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """read: files that were hashed, `size` bytes in all. absent: trainings without one here."""

    findings: tuple[Finding, ...]
    read: int
    absent: int
    size: int


@dataclass(frozen=True)
class Verification:
    """unknown: what the records do not say, so that it cannot be checked."""

    findings: tuple[Finding, ...]
    runs: int
    cells: int
    unknown: tuple[str, ...] = ()
    weights: Weights = Weights((), 0, 0, 0)


def examine(ledger: Ledger) -> Verification:
    """Hold everything against the records; raises InputError where MLflow cannot be read."""
    from equigrid.tracking import query

    experiment, workspace, store = ledger.experiment, ledger.workspace, ledger.store
    try:
        before = stamp(store)
        runs = query.read_runs(store)
        tracked = query.summary(runs)
        renew(tracked, store, before, workspace.tracked_cache(experiment.full_name))
    except StoreError as error:
        raise InputError(f"MLflow cannot be read: {error}") from error
    plan = ledger.known_with(tracked)
    weights = _weights(plan, workspace)
    findings = [
        *_runs(plan, workspace, store, runs),
        *_data(plan, workspace),
        *weights.findings,
        *_cells(plan, workspace),
    ]
    cells, unknown = len(list(experiment.cells())), tuple(_unknown(plan))
    return Verification(tuple(findings), len(tracked.runs), cells, unknown, weights)


def _weights(plan: Plan, workspace: Workspace) -> Weights:
    """The best weights of every finished training, against the hash in its record.

    Weights stay where they were trained: of what was imported or fetched none are here.
    """
    findings, absent, count, size = [], 0, 0, 0
    for key, trial in {t.key: t for t in plan.all_trials() if t.key in plan.recorded}.items():
        record = workspace.record(key)
        if record is None or record.weights_sha256 is None:
            continue
        path, skipped = workspace.weights_file(key), 0
        if trial.training_version == 1:  # its own format: a digest, and what was hashed
            path, skipped = path.with_suffix(""), DIGEST_SIZE
        if not path.exists():
            absent += 1
            continue
        content = path.read_bytes()
        found = sha256(content[skipped:])
        count, size = count + 1, size + len(content)
        if found != record.weights_sha256:
            text = f"SHA-256 is {found[:12]}, the record says {record.weights_sha256[:12]}"
            findings.append(Finding(f"weights of {trial.describe()} ({path})", text))
        for name, digest in record.artifacts.items():
            file = workspace.run_files / key / name
            if file.exists() and (other := sha256(file.read_bytes())) != digest:
                text = f"SHA-256 is {other[:12]}, the record says {digest[:12]}"
                findings.append(Finding(f"{name} of {trial.describe()} ({file})", text))
    return Weights(tuple(findings), count, absent, size)


def _unknown(plan: Plan) -> Iterator[str]:
    """What records of an older training version do not say."""
    version = plan.experiment.training_version
    if version != TRAINING_VERSION:
        yield (
            f"trained by version {version} of training; this is version {TRAINING_VERSION}, and a "
            "run trains anew"
        )
    yield from plan.experiment.unseen_code()
    names = plan.experiment.external_parts
    if version < CODE_SINCE and names:
        yield f"records of version {version} do not say which code they had of {', '.join(names)}"


def _runs(
    plan: Plan, workspace: Workspace, store: Store, runs: Sequence[tuple[Identity, Run]]
) -> Iterator[Finding]:
    from equigrid.tracking import query

    trials: dict[Identity, Trial] = {identity_of(trial): trial for trial in plan.all_trials()}
    finished = Counter(identity for identity, run in runs if run.info.status == "FINISHED")
    seen: set[Identity] = set()
    with tempfile.TemporaryDirectory() as folder:
        for identity, run in runs:
            if run.info.status != "FINISHED":
                continue
            row, dataset, role, key = identity
            subject = f"run {run.info.run_id} ({row} / {dataset}, {role})"
            if identity in seen:
                yield Finding(subject, "doubled: another run says the same", None,
                              (run.info.run_id,))  # fmt: skip
                continue
            seen.add(identity)
            wanted = trials.get(identity)
            text = ""
            try:
                artifact: Record | None = query.fetch_record(store, run.info.run_id, Path(folder))
            except InputError as error:
                artifact, text = None, str(error)
            record = workspace.record(key) or artifact
            if record is None:
                yield Finding(subject, text, None, ())
                continue
            text = text or _differences(run, role, record, artifact)
            if text:
                trial = wanted or _trial_of(record, identity)
                yield Finding(subject, text, trial, (run.info.run_id,))
    for identity, trial in trials.items():
        if plan.is_finished(trial) and not finished[identity]:
            refusal = plan.refused.get(identity)
            text = f"MLflow refuses it: {refusal}" if refusal else "recorded, not tracked"
            yield Finding(trial.describe(), text, None if refusal else trial)


def _trial_of(record: Record, identity: Identity) -> Trial:
    """A record's trial under the names of a run: the same training may feed several rows."""
    row, dataset, role, _ = identity
    content = record.trial.to_dict() | {"row": row, "dataset": dataset, "role": role}
    return Trial.from_dict(content)


def _differences(run: Run, role: str, record: Record, artifact: Record | None) -> str:
    """What a run says otherwise than its record; empty where nothing."""
    from equigrid.tracking import runs

    wrong = []
    expected = runs.latest_metrics(record, role)
    found = dict(run.data.metrics)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            wrong.append(f"{name} is {found.get(name)}, recorded {expected.get(name)}")
    params = runs.parameters(record.trial)
    for name in sorted(params.keys() | run.data.params.keys()):
        if params.get(name) != run.data.params.get(name):
            wrong.append(
                f"parameter {name} is {run.data.params.get(name)}, recorded {params.get(name)}"
            )
    tags = runs.record_tags(record.trial, record)
    for name in CHECKED_TAGS:
        if tags[name] != run.data.tags.get(name):
            wrong.append(f"{name} is {run.data.tags.get(name)}, recorded {tags[name]}")
    if artifact is not None and not _same_training(artifact, record):
        wrong.append("the record it carries is not the workspace's")
    return "; ".join(wrong)


def _same_training(a: Record, b: Record) -> bool:
    """Equal but for names, and for tests that only one of them has."""
    tests = a.test is None or b.test is None or a.test == b.test
    names = ("key", "history", "validation", "parameters", "data_sha256", "weights_sha256")
    return tests and all(getattr(a, name) == getattr(b, name) for name in names)


def _data(plan: Plan, workspace: Workspace) -> Iterator[Finding]:
    """The content hash of each data file that is here, against what the runs were trained on."""
    for (row, dataset), trials in plan.finals.items():
        known = {plan.results[t.key].data_sha256: t for t in trials if plan.is_finished(t)}
        if len(known) > 1:
            yield Finding(f"{row} / {dataset}", f"trained on {len(known)} different data files")
    hashes: dict[Path, str] = {}
    for trial in plan.all_trials():
        path = workspace.cache_file(trial.data)
        if path.exists() and path not in hashes:
            try:
                hashes[path] = read_arrays(path)[1]
            except DamagedFileError as error:
                hashes[path] = ""
                yield Finding(str(path), f"damaged, the next run builds it again: {error}")
        found, result = hashes.get(path), plan.results.get(trial.key)
        if found and result is not None and result.data_sha256 != found:
            yield Finding(
                trial.describe(),
                f"trained on data {result.data_sha256[:12]}, the file here is {found[:12]}",
            )


def _cells(plan: Plan, workspace: Workspace) -> Iterator[Finding]:
    """The table on disk against what the records give."""
    path = workspace.tables(plan.experiment.full_name) / "table.csv"
    if not path.exists():
        return
    with path.open(newline="") as file:
        written = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    for (row, column), cell in assemble(plan).cells.items():
        line: Mapping[str, str] = written.get((row, column), {})
        expected = {
            "mean": "" if cell.mean is None else repr(cell.mean),
            "std": "" if cell.std is None else repr(cell.std),
            "n": str(len(cell.values)),
            "values": " ".join(map(repr, cell.values)),
        }
        wrong = [
            f"{name} {line.get(name, '')!r}, the runs give {value!r}"
            for name, value in expected.items()
            if line.get(name) != value
        ]
        if wrong:
            yield Finding(f"cell {row}/{column}", f"{path.name} has {wrong[0]}")


def repair(ledger: Ledger, found: Verification) -> int:
    """Send runs again from their records, after deleting what is wrong of them; returns how many.

    Deleted runs stay in MLflow's bin. A run without a record anywhere is left as it is.
    """
    from equigrid.tracking import runs

    store, workspace = ledger.store, ledger.workspace
    client = runs.connect(store.uri)
    mended = 0
    with workspace.driver():
        again: list[Trial] = []
        for finding in found.findings:
            trial = finding.trial
            if trial is not None and workspace.record(trial.key) is None and finding.run_ids:
                ledger.bring_home(finding.run_ids[0])
            if trial is None or workspace.record(trial.key) is not None:
                for run_id in finding.run_ids:
                    client.delete_run(run_id)
                mended += bool(finding.run_ids) or trial is not None
                again += [trial] if trial is not None else []
        with closing(Writer(store)) as writer:
            for trial in again:
                writer.record(trial, workspace.record_file(trial.key))
    return mended
