"""Ray's own start: seconds of waiting, which a run that is new spends on its data meanwhile."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Mapping
from typing import Any

from equigrid.machine import check_loopback, cluster, cores, sockets_folder

# Read by Ray when it is imported. An empty setting is none, though Ray would take it for one.
os.environ["RAY_USAGE_STATS_ENABLED"] = os.environ.get("RAY_USAGE_STATS_ENABLED") or "0"
if cluster() is not None:
    # Ray asks a cluster that refuses its token again and again: 20 times, without this.
    os.environ["RAY_NUM_REDIS_GET_RETRIES"] = os.environ.get("RAY_NUM_REDIS_GET_RETRIES") or "2"
else:
    os.environ.pop("RAY_ADDRESS", None)  # an empty one makes Ray listen at every address
    os.environ.pop("RAY_RUNTIME_ENV_HOOK", None)  # a cluster's, whose module is not here
    # A local Ray: token authentication with a token of this run's own, nothing written to home.
    os.environ["RAY_AUTH_MODE"] = os.environ.get("RAY_AUTH_MODE") or "token"
    os.environ["RAY_AUTH_TOKEN"] = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(16)
    # As Ray has it by default on macOS: a Ray that serves this machine alone. All its processes
    # then listen at the loopback address, not at every address of the machine.
    for_networks = os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = for_networks or "0"

import ray
from ray.job_config import JobConfig

from equigrid.errors import InputError

log = logging.getLogger("equigrid")

LOCAL_OBJECT_STORE = 128 * 2**20
#: Ray gives its processes 30 s to start, too little for a machine that is full of other work, and
#: says so in an exception that has no class of its own.
ATTEMPTS, LATE = 3, "timed out during startup"


def start_ray() -> None:
    """Start a Ray on this machine, or join the cluster that `RAY_ADDRESS` names.

    Raises InputError where no Ray answers there, or one that demands another token, and what
    `sockets_folder` and `check_loopback` raise; TimeoutError where a Ray of this machine does not
    start.
    """
    address = cluster()
    environment = {
        "OMP_NUM_THREADS": "1",
        "PL_DISABLE_FORK": "1",  # as Tune has it: Lightning must not fork in a Ray worker
        "MPLBACKEND": "agg",  # a notebook's own, which programs inherit, is not there for them
    }
    options: dict[str, Any] = {}
    if address is None:
        check_loopback()
        options = {
            "include_dashboard": False,
            "object_store_memory": LOCAL_OBJECT_STORE,
            "num_cpus": cores(),  # Ray counts those that this process may not use too
        }
        os.environ["RAY_TMPDIR"] = str(sockets_folder())
        # A local Ray's processes inherit it; one that Ray has to set takes half a second longer.
        os.environ |= environment
    else:
        if path := os.environ.get("PYTHONPATH"):
            environment["PYTHONPATH"] = path
        options = {"runtime_env": {"env_vars": environment}}
        _reach(address)
    # In a thread Ray warns that SIGTERM is not its own to handle: it is ours.
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Without an address Ray would join whatever cluster was started last on this machine.
    options |= {"address": address or "local", "log_to_driver": False}
    try:
        _init(options)
    except ConnectionError as error:
        if address is None:
            raise
        raise InputError(
            f"RAY_ADDRESS: {error}; is the cluster's token in RAY_AUTH_TOKEN, or in the file "
            "RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token?"
        ) from None


class _Job(JobConfig):  # type: ignore[misc]
    """Without the working folder on the workers' path.

    There it would come first: a file of the user's in it would hide Python's own modules and ours.
    Only with a working_dir does Ray leave it out, which costs half a second.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _init(options: Mapping[str, Any]) -> None:
    """Start or join; what a late attempt has started ends with this process."""
    for attempt in range(ATTEMPTS):
        if attempt:
            log.warning("Ray did not start within 30 s, as on a busy machine: once more")
        try:
            ray.init(logging_level=logging.ERROR, job_config=_Job(), **options)
            return
        except Exception as error:
            if LATE not in str(error):
                raise
            late = error
    raise TimeoutError(
        f"Ray did not start on this machine in {ATTEMPTS} attempts of 30 s: is it full of other "
        "work? The same command goes on; --in-process needs no Ray"
    ) from late


def _reach(address: str) -> None:
    """Ray itself asks where nobody answers for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # `auto` and the like are Ray's to look up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"RAY_ADDRESS: no Ray answers at {address} ({reason})") from None
