"""What MLflow holds of an experiment, and its cache on disk. Of files and servers without mlflow.

The cache is derived and may be deleted at any time: it serves while the store is unchanged since
it was read (SQLite: size and time of the file and of its write-ahead log; else: a tag that every
writer moves on, asked over REST, or through MLflow's client where there is no HTTP).
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from equigrid.files import write_derived
from equigrid.record import Result
from equigrid.tracking.look import mlflow_imported, stamp_by_client
from equigrid.tracking.server import server_stamp
from equigrid.tracking.store import Identity, Store, Tracked, TrackedRun

log = logging.getLogger("equigrid")

#: Of the cache file's content.
CACHE_SCHEMA = 1


def stamp(store: Store) -> list[Any] | None:
    """What changes when the store does; None where there is no store yet.

    Raises what `look` raises.
    """
    path = store.database
    if path is not None:
        return stamp_of_file(path) if path.exists() else None
    return server_stamp(store) if store.is_server else stamp_by_client(store)


def stamp_of_file(path: Path) -> list[Any]:
    """What changes when a SQLite file does."""
    parts: list[Any] = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        status = file.stat() if file.exists() else None
        parts += [status.st_size, status.st_mtime_ns] if status else [0, 0]
    return [*parts, version("mlflow")]  # which may ask for another schema


def load_tracked(store: Store, cache: Path) -> Tracked:
    """From the cache where it is warm, else from the store; raises StoreError.

    Nothing is tracked where there is no store yet.
    """
    now = stamp(store)
    if now is None:
        return Tracked({})
    if (kept := _read_cache(cache, now)) is not None:
        return kept
    return refresh(store, cache)


def refresh(store: Store, cache: Path) -> Tracked:
    """Read the store itself and renew the cache."""
    with mlflow_imported():
        from equigrid.tracking import query

    before = stamp(store)
    tracked = query.read(store)
    renew(tracked, store, before, cache)
    return tracked


def renew(tracked: Tracked, store: Store, before: list[Any] | None, cache: Path) -> None:
    """Write the cache of what was read after the stamp `before`, unless somebody writes."""
    if before == stamp(store):
        write_derived(cache, _to_json(tracked, before))


def keep(tracked: Tracked, store: Store, cache: Path) -> None:
    """Let what was read count as what a SQLite store holds now: no trial's run has changed since.

    A server's stamp moves with trials' runs only.
    """
    if store.database is not None:
        write_derived(cache, _to_json(tracked, stamp(store)))


def last_known(cache: Path) -> Tracked | None:
    """What the cache holds, however old: for a store that cannot be reached."""
    return _read_cache(cache, None)


def _to_json(tracked: Tracked, stamp: list[Any] | None) -> str:
    runs = [[*identity, asdict(run)] for identity, run in tracked.runs.items()]
    content = {"schema": CACHE_SCHEMA, "stamp": stamp, "runs": runs, "doubled": tracked.doubled}
    return json.dumps(content)


def _read_cache(cache: Path, stamp: list[Any] | None) -> Tracked | None:
    """None where there is none of this stamp (any, for None), or it is damaged."""
    try:
        content = json.loads(cache.read_text("utf-8"))
        if content["schema"] != CACHE_SCHEMA or stamp not in (None, content["stamp"]):
            return None
        runs: dict[Identity, TrackedRun] = {}
        for row, dataset, role, key, run in content["runs"]:
            result = run.pop("result")
            runs[row, dataset, role, key] = TrackedRun(
                **run, result=None if result is None else Result(**result)
            )
        return Tracked(runs, tuple(content["doubled"]))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s: damaged (%r); read again from MLflow", cache, error)
        return None
