"""A tracking server asked over REST. Imports no mlflow, which takes a second."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from equigrid.errors import StoreError
from equigrid.tracking.store import CHANGED, Store

if TYPE_CHECKING:
    import requests

API = "/api/2.0/mlflow"
#: Of the requests that a record takes the one that servers have learnt last.
YOUNGEST = f"{API}/runs/log-inputs"
#: Statuses of a server that does not know an address, unless its answer is MLflow's own.
NO_SUCH_ADDRESS = (404, 405, 501)


def ask(
    uri: str, path: str, body: dict[str, str] | None = None, **parameters: str
) -> requests.Response:
    """A GET (a POST, of a body), with the credentials that MLflow's own client takes."""
    import requests

    read = os.environ.get
    user, password = read("MLFLOW_TRACKING_USERNAME"), read("MLFLOW_TRACKING_PASSWORD")
    token = None if user and password else read("MLFLOW_TRACKING_TOKEN")
    insecure = (read("MLFLOW_TRACKING_INSECURE_TLS") or "").lower() in ("true", "1")
    return requests.request(
        "GET" if body is None else "POST",
        f"{uri.rstrip('/')}{path}",
        params=parameters,
        json=body,
        auth=(user, password) if user and password else None,
        headers={"Authorization": f"Bearer {token}"} if token else None,
        verify=not insecure and (read("MLFLOW_TRACKING_SERVER_CERT_PATH") or True),
        timeout=10,
    )


def server_stamp(store: Store) -> list[Any] | None:
    """The experiment's id and what its writers move on; None where there is no such experiment.

    Raises StoreError where no server answers, or what answers is none of MLflow's.
    """
    import requests

    try:
        answer = ask(store.uri, f"{API}/experiments/get-by-name", experiment_name=store.experiment)
        if answer.status_code == 404 and _has_words(answer):
            return None
        answer.raise_for_status()
        experiment = answer.json()["experiment"]
    except (requests.RequestException, ValueError, KeyError) as error:
        raise StoreError(f"{type(error).__name__}: {error}{through_proxy(store.uri)}") from error
    tags = {tag["key"]: tag["value"] for tag in experiment.get("tags", [])}
    return [experiment["experiment_id"], tags.get(CHANGED, "")]


def check_server(store: Store) -> None:
    """Raise StoreError where a server does not answer, or cannot take what a record consists of."""
    import requests

    server_stamp(store)
    try:
        answer = ask(store.uri, YOUNGEST, {"run_id": "0" * 32})  # of no run: nothing is written
        known = answer.status_code not in NO_SUCH_ADDRESS or _has_words(answer)
        there = "" if known else ask(store.uri, "/version").text.strip()
    except requests.RequestException as error:
        raise StoreError(f"{type(error).__name__}: {error}{through_proxy(store.uri)}") from error
    if not known:
        number = there if there.replace(".", "").isalnum() and len(there) < 20 else "unknown"
        raise StoreError(
            f"{store.uri} is of MLflow version {number}, which does not take what version "
            f"{version('mlflow')} here sends (no {YOUNGEST}); update the server, or track elsewhere"
        )


def _has_words(answer: requests.Response) -> bool:
    """Whether MLflow says what is wrong, not a server that has no such address."""
    try:
        said = answer.json()
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("error_code", "ENDPOINT_NOT_FOUND") not in (
        "ENDPOINT_NOT_FOUND", 404, "404"
    )  # fmt: skip


def through_proxy(uri: str) -> str:
    """What to add to an error of a server that is asked through a proxy; empty where it is not."""
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(uri, get_environ_proxies(uri, no_proxy=None))
    if not proxy:
        return ""
    host = urlsplit(uri).hostname
    return f"; asked through the proxy {proxy}: to ask it directly, add {host} to NO_PROXY"
