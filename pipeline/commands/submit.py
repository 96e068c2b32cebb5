"""Run on a Ray cluster, as a job: it goes on when this terminal is closed.

The same command again shows the run under way. Credentials are the cluster's: RAY_AUTH_TOKEN.

Example: equigrid submit ddmnist --address http://127.0.0.1:8265
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from equigrid.commands.output import console
from equigrid.commands.shared import Name, Profile
from equigrid.config.experiment import PACKAGED, SUBMITTED_FROM, Experiment, load_experiment
from equigrid.config.reading import find
from equigrid.errors import InputError
from equigrid.own_parts.source_code import code_of
from equigrid.planning.workspace import SUBMITTED
from equigrid.tracking.server import through_proxy

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

UNDER_WAY = ("PENDING", "RUNNING")
HEAD_STOPPED = (
    "if the head was stopped, the job ended with it: once there is a head again, the same command "
    "goes on from the last checkpoints"
)
#: The folder of the search space in a job's own.
BESIDE = "submitted"
#: What a job is known by among others of the cluster.
LABEL = "equigrid"


def submit(
    name: Name,
    address: Annotated[
        str, typer.Option(help="The cluster's job server, such as http://head:8265.")
    ],
    profile: Profile = None,
    workspace: Annotated[
        str | None,
        typer.Option(help="A folder on the cluster's head; default: its EQUIGRID_WORKSPACE."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that were given up.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
) -> None:
    experiment = load_experiment(name, profile)
    arguments = ["--profile", profile] if profile else []
    arguments += ["--retry-failed"] if retry_failed else []
    client = connect(address)
    job, new = submit_run(client, name, experiment, workspace, arguments)
    console.print(
        f"{'submitted' if new else 'under way'}: job {job}; this terminal may be closed",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if not detach:
        code = follow(client, job, lambda text: print(text, end="", flush=True))
        raise typer.Exit(code)


def connect(address: str) -> JobSubmissionClient:
    """The cluster's job server; InputError where it is none, or refuses."""
    if not address.startswith(("http://", "https://")):
        raise InputError(
            f"--address: {address!r}; expected the job server, such as http://head:8265"
        )
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read by Ray when it is imported
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    for chatty in ("dashboard_sdk", "job.sdk"):
        logging.getLogger(f"ray.dashboard.modules.{chatty}").setLevel(logging.WARNING)
    try:
        return JobSubmissionClient(address)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--address: {address}: {_first_line(error)} (the cluster's token: RAY_AUTH_TOKEN)"
            f"{through_proxy(address)}"
        ) from error


def submit_run(
    client: JobSubmissionClient,
    name: str,
    experiment: Experiment,
    workspace: str | None,
    arguments: Sequence[str],
) -> tuple[str, bool]:
    """Start the run, or find the one under way; its id, and whether it is new.

    The search space travels with the Python files beside it. workspace: on the cluster.
    """
    origin = experiment.origin
    if origin != PACKAGED:  # nobody on the head can look whether it is still there
        origin += SUBMITTED
    label = {LABEL: experiment.full_name, "workspace": workspace or "", "origin": origin}
    try:
        for job in client.list_jobs():
            if job.status in UNDER_WAY and label.items() <= ((job.metadata or {}).items()):
                return str(job.submission_id), False
        command = ["equigrid", "run", f"{BESIDE}/{experiment.name}.yaml", *arguments]
        if workspace is not None:
            command += ["--workspace", workspace]
        with tempfile.TemporaryDirectory() as folder:
            source = find(name)
            # Not beside: a job's own folder comes first on the path, before Python's own modules.
            beside = Path(folder) / BESIDE
            beside.mkdir()
            for file in (source, *source.parent.glob("*.py")):
                shutil.copy(file, beside)
            for part in experiment.external_parts:
                for path, text in code_of(part).sources.items():
                    if path.endswith(".py"):
                        (beside / path).parent.mkdir(parents=True, exist_ok=True)
                        (beside / path).write_text(text, "utf-8")
            identifier = client.submit_job(
                entrypoint=shlex.join(command),
                submission_id=f"{LABEL}-{experiment.full_name}-{time.strftime('%Y%m%d-%H%M%S')}",
                runtime_env={
                    "working_dir": folder,
                    "env_vars": {SUBMITTED_FROM: origin},
                },
                metadata=label,
            )
    except RuntimeError as error:
        raise InputError(f"the cluster refuses: {_first_line(error)}") from error
    return str(identifier), True


def follow(client: JobSubmissionClient, job: str, show: Callable[[str], Any]) -> int:
    """Show a job's output to its end; its exit code, 1 where it ended without one.

    Raises InputError where the connection is lost, and says what is known of the job then.
    """

    async def stream() -> None:
        async for lines in client.tail_job_logs(job):
            show(lines)

    try:
        asyncio.run(stream())
        ended = client.get_job_info(job)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"job {job} is out of sight ({_first_line(error)}); {_what_is_known(client, job)}"
        ) from error
    if ended.driver_exit_code is not None:
        return int(ended.driver_exit_code)
    if ended.status in UNDER_WAY:  # its output ends before it does where the head is stopped
        show(f"job {job}: {HEAD_STOPPED}\n")
        return 1
    show(f"job {job}: {ended.status}: {ended.message or ''}\n")
    return 0 if ended.status == "SUCCEEDED" else 1


def _what_is_known(client: JobSubmissionClient, job: str) -> str:
    """Of a job whose output is not to be seen any more: a job lives as long as the head does."""
    try:
        goes_on = client.get_job_info(job).status in UNDER_WAY
    except (RuntimeError, OSError):
        return f"if only the connection broke, it goes on; {HEAD_STOPPED}"
    return "it goes on, and the same command shows it again" if goes_on else "it has ended"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
