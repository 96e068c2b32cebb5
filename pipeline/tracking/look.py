"""One look at a store, before anything is sent to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from equigrid.errors import InputError, StoreError
from equigrid.own_parts.user_errors import in_one_line
from equigrid.tracking.database import damage
from equigrid.tracking.server import check_server, through_proxy
from equigrid.tracking.store import CHANGED, Store

#: Letters of another's error that are shown.
LONGEST = 1000


def look(store: Store) -> None:
    """See whether records can be sent to a store.

    Raises InputError where its address is none that MLflow takes, StoreError where it does not
    answer, is damaged or of another version: records are safe meanwhile.
    """
    if store.is_server:
        check_server(store)
    elif store.database is None:
        stamp_by_client(store)
    elif store.database.exists():
        if broken := damage(store):
            raise StoreError(broken)
        stamp_by_client(store)


def stamp_by_client(store: Store) -> list[Any] | None:
    """As `server_stamp`, through MLflow's client; raises what `look` raises."""
    with mlflow_imported():
        from equigrid.tracking.runs import connect, is_no_store
    try:
        experiment = connect(store.uri).get_experiment_by_name(store.experiment)
    except Exception as error:
        if store.database is None and is_no_store(error):
            raise InputError(f"MLFLOW_TRACKING_URI: {store.uri}: {in_one_line(error)}") from error
        raise StoreError(reason(store, error)) from error
    if experiment is None:
        return None
    return [experiment.experiment_id, experiment.tags.get(CHANGED, "")]


@contextmanager
def mlflow_imported() -> Iterator[None]:
    """StoreError where what is imported inside fails: an installation may be broken in any way."""
    try:
        yield
    except Exception as error:
        raise StoreError(f"MLflow cannot be imported: {in_one_line(error)}") from error


def reason(store: Store, error: BaseException) -> str:
    """Why a store could not be read or written: what its file has, else the error in one line."""
    if broken := damage(store):
        return broken
    at = f"{store.database}: " if store.database is not None else ""
    more = through_proxy(store.uri) if store.is_server else ""
    return f"{at}{in_one_line(error)[:LONGEST]}{more}"
