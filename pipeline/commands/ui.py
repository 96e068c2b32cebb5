"""Open the MLflow UI on the workspace's store, on localhost only. Ends with Ctrl-C.

Example: equigrid ui --port 5001
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import WORKSPACE, Root
from equigrid.errors import InputError, StoreError
from equigrid.planning.workspace import Workspace
from equigrid.tracking.database import follow_move
from equigrid.tracking.look import reason
from equigrid.tracking.store import Store


def ui(
    workspace: Root = WORKSPACE,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    place = Workspace(workspace)
    store = place.store("")
    if store.is_server:
        raise InputError(f"{store.uri} (MLFLOW_TRACKING_URI) has pages of its own: open them there")
    if store.database is not None and not store.database.exists():
        raise InputError(f"{store.database}: nothing is tracked here yet; run a search space first")
    try:
        follow_move(store)
    except StoreError as error:
        raise InputError(str(error)) from error
    _check_port(port)
    pages = _pages(store)
    console.print(f"MLflow UI: http://127.0.0.1:{port}", highlight=False)
    for name, page in pages:
        text = f"  {name}: http://127.0.0.1:{port}{page}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--default-artifact-root", place.artifact_folder.as_uri(), "--workers", "1",
    ]  # fmt: skip
    # Not among the arguments, which every user of this machine can read: it may have a password.
    os.execve(sys.executable, command, os.environ | {"MLFLOW_BACKEND_STORE_URI": store.uri})


def _pages(store: Store) -> list[tuple[str, str]]:
    """Of each experiment its name and where its runs are listed, the newest first."""
    # MLflow takes a second to import, which the checks before need not wait for.
    from equigrid.tracking.runs import connect, page_of

    try:
        found = connect(store.uri).search_experiments(order_by=["last_update_time DESC"])
    except Exception as error:
        raise InputError(reason(store, error)) from error
    # 0 is MLflow's own, in which nothing of ours is.
    return [(it.name, page_of(it)) for it in found if it.experiment_id != "0"]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers take one again
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"--port {port}: cannot be had at 127.0.0.1 ({error.strerror}); name another"
            ) from None
