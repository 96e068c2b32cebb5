"""Records from elsewhere join the workspace's, and the tracked runs."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from pipeline.files import InputError
from pipeline.orchestration.workspace import Workspace
from pipeline.record import Record
from pipeline.tracking.writer import Store, Writer

LARGEST = 64 * 2**20


def import_files(files: list[Path], workspace: Workspace) -> tuple[int, int]:
    """Check every file first, then add them all; returns how many were added and known already.

    A record that was tested here or there stays tested: test scores join a record without them.
    Raises InputError naming the file, before anything is written.
    """
    records = [_read(path) for path in files]
    added = 0
    by_experiment: dict[str, list[Record]] = defaultdict(list)
    with workspace.driver():
        for record in records:
            known = workspace.record(record.key)
            joined = _join(known, record)
            if joined is not known:
                joined.save(workspace.record_file(record.key))
                added += 1
            workspace.release(record.key)
            by_experiment[record.trial.experiment].append(joined)
        for experiment, group in by_experiment.items():
            store = Store(workspace.tracking_uri, workspace.artifact_folder, experiment)
            with closing(Writer(store)) as writer:
                for record in group:
                    for role in ("grid", "final"):
                        if role == record.trial.role or (role == "final" and record.test):
                            writer.record(replace(record.trial, role=role), record)
    return added, len(records) - added


def _read(path: Path) -> Record:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST >> 20} MiB: not a record")
        return Record.from_json(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _join(known: Record | None, new: Record) -> Record:
    """The record to keep: ours where both have trained it, with the tests of either."""
    if known is None:
        return new
    same = known.history == new.history and known.weights_sha256 == new.weights_sha256
    if known.test is None and new.test is not None and same:
        return replace(known, test=new.test)
    return known
