"""Records and bundles from elsewhere join the workspace's records, and the tracked runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from equigrid.errors import InputError
from equigrid.exchange.bundle import LARGEST_MEMBER, ZIP, Bundle, Place, parse_record, read_bundle
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.tracking.writer import Writer
from equigrid.trial import Trial


def import_files(files: list[Path], workspace: Workspace) -> tuple[int, int]:
    """Check every file first, then add all records; returns how many were added and known already.

    A file is a record or a bundle of records, whatever its name. A record that was tested here or
    there stays tested: test scores join a record without them. A bundle's tables are not taken
    over: they are made from records. Raises InputError naming the file, before anything is
    written.
    """
    sources = [_read(path) for path in files]
    added = known_already = 0
    places: list[Place] = []
    with workspace.driver():
        for record in _records(sources):
            known = workspace.record(record.key)
            joined = _join(known, record)
            if joined is known:
                known_already += 1
            else:
                joined.save(workspace.record_file(record.key))
                added += 1
            workspace.release(record.key)
            places += _places(joined)
        for source in sources:
            places += source.trials() if isinstance(source, Bundle) else []
        track(workspace, places)
    return added, known_already


def track(workspace: Workspace, places: list[Place]) -> int:
    """Send records to MLflow under the names of places; returns how many could not be sent."""
    by_experiment: dict[str, list[Trial]] = defaultdict(list)
    for place in dict.fromkeys(places):
        by_experiment[place.experiment] += _trial(workspace, place)
    unsent = 0
    for experiment, trials in by_experiment.items():
        with closing(Writer(workspace.store(experiment))) as writer:
            for trial in trials:
                writer.record(trial, workspace.record_file(trial.key))
        unsent += writer.unsent
    return unsent


def rebuild_store(workspace: Workspace) -> tuple[Path | None, int]:
    """Write a workspace's own SQLite store anew from its records; the old one is moved aside.

    Returns where it was moved to, and how many records there are. What only a search space knows
    (summaries, tables, a training's further rows) the next run sends. Raises InputError where the
    store is not a file of the workspace's own.
    """
    path = workspace.store("").database
    if path is None:
        raise InputError(f"{workspace.tracking_uri}: not a SQLite file that could be written anew")
    with workspace.driver():
        aside = _move_aside(path)
        records = [workspace.record(key) for key in workspace.record_keys()]
        known = [record for record in records if record is not None]
        if track(workspace, [place for record in known for place in _places(record)]):
            raise OSError(f"{path}: the store cannot be written")
    return aside, len(known)


def _move_aside(path: Path) -> Path | None:
    """Give a store and what SQLite keeps beside it another name."""
    if not path.exists():
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside


def _places(record: Record) -> list[Place]:
    """What a record says of itself: it is trained for its role, and tested as a final."""
    trial, roles = record.trial, {record.trial.role, *(["final"] if record.test else [])}
    return [Place(trial.experiment, trial.row, trial.dataset, r, trial.key) for r in sorted(roles)]


def _trial(workspace: Workspace, place: Place) -> list[Trial]:
    """The trial to track under a place's names; none where its record is not here or not tested."""
    record = workspace.record(place.key)
    if record is None or (place.role == "final" and record.test is None):
        return []
    names = place._asdict()
    del names["key"]
    return [Trial.from_dict(record.trial.to_dict() | names)]


def _read(path: Path) -> Record | Bundle:
    try:
        with path.open("rb") as file:
            content = file.read(len(ZIP))
            if content == ZIP:
                return read_bundle(path)
            content += file.read(LARGEST_MEMBER)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > LARGEST_MEMBER:
        raise InputError(f"{path}: larger than {LARGEST_MEMBER >> 20} MiB: not a record")
    return parse_record(content, str(path))


def _records(sources: list[Record | Bundle]) -> Iterator[Record]:
    for source in sources:
        if isinstance(source, Bundle):
            yield from source.records()
        else:
            yield source


def _join(known: Record | None, new: Record) -> Record:
    """The record to keep: ours where both have trained it, with the tests of either."""
    if known is None:
        return new
    same = known.history == new.history and known.weights_sha256 == new.weights_sha256
    if known.test is None and new.test is not None and same:
        return replace(known, test=new.test)
    return known
