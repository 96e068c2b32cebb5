"""The workspace's own MLflow store, a SQLite file: made whole, examined, moved."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from equigrid.errors import StoreError
from equigrid.files import locked, write_atomically
from equigrid.machine import cache_folder
from equigrid.tracking.store import Store, sqlite_uri

log = logging.getLogger("equigrid")

#: Python's own where a damaged page is in SQLite's words.
BROKEN = (sqlite3.Error, UnicodeDecodeError)


def make_store(path: Path) -> None:
    """Make MLflow's tables beside, and move them to their place when they are whole.

    It makes them in some fifty steps, takes no lock for it, and where it was killed in between or
    another process made them as well, nobody can use the file any more. Those steps take two
    seconds: a copy of what they made is kept in the cache folder for the next workspace.
    """
    if path.exists():
        return
    template = cache_folder() / f"mlflow-{version('mlflow')}.db"
    with locked(path.with_name(f".{path.name}.lock"), wait=True):
        if path.exists():
            return
        beside = path.with_name(f".{path.name}.new")
        for left in (beside, path.with_name(f"{beside.name}-journal")):
            left.unlink(missing_ok=True)
        if not _is_copied(template, beside):
            from mlflow.tracking import MlflowClient  # takes a second

            MlflowClient(tracking_uri=sqlite_uri(beside)).search_experiments(max_results=1)
            _keep(beside, template)
        os.replace(beside, path)


def _is_copied(template: Path, beside: Path) -> bool:
    """Copy a store that nobody has used yet, if there is a whole one."""
    try:
        shutil.copyfile(template, beside)
        with closing(sqlite3.connect(beside)) as connection, connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            known = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
            if answer == "ok" and known == (1,):
                # The folder that was the working one when it was made is not this one's.
                connection.execute(
                    "UPDATE experiments SET artifact_location = ?",
                    ((beside.parent.absolute() / "artifacts" / "0").as_uri(),),
                )
                return True
        log.debug("%s: not whole; it is made anew", template)
    except FileNotFoundError:
        log.debug("%s: not there yet", template)
    except (OSError, *BROKEN) as error:
        log.debug("%s: %s; it is made anew", template, error)
    beside.unlink(missing_ok=True)
    return False


def _keep(beside: Path, template: Path) -> None:
    try:
        template.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(template, beside.read_bytes())
    except OSError as error:
        log.debug("%s: cannot be kept: %s", template, error)


def damage(store: Store) -> str:
    """What is wrong with the file of a SQLite store, and what to do; empty where nothing is."""
    path = store.database
    if path is None or not path.exists():
        return ""
    found = "cannot be written" if not os.access(path, os.W_OK) else ""
    try:
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            connection.text_factory = _readable
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.execute("SELECT count(*) FROM runs").fetchone()
            if answer != "ok":
                found = f"damaged: {answer}"
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            found = f"damaged: {error}"
    except BROKEN as error:
        found = f"damaged: {error}"
    if not found:
        return ""
    return (
        f"{path} is {' '.join(found.split())}; the records are whole, and `equigrid doctor "
        f"--repair-store --workspace {shlex.quote(str(path.parent))}` writes it anew from them"
    ).replace("is cannot", "cannot")


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def follow_move(store: Store) -> None:
    """Let the artifacts of a workspace's own store be where the workspace is now.

    MLflow writes whole paths into its database, so that after a move, or in a copy, they lead to
    the original. Its own API cannot change them.
    """
    path = store.database
    if path is None or not path.exists() or path.parent != store.artifact_folder.parent:
        return
    try:
        _rewrite_addresses(store, path)
    except BROKEN as error:
        raise StoreError(damage(store) or f"{path}: {error}") from error


def _rewrite_addresses(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
        found = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments")
        for identifier, name, old in found.fetchall():
            new = (store.artifact_folder / name).as_uri()
            if not old or old == new or not old.startswith("file:") or identifier == 0:
                continue
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, identifier, len(old), old),
            )
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (new, identifier),
            )
            log.debug("%s: artifacts of %s follow the workspace from %s", path, name, old)
