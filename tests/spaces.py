"""Tiny search spaces, and equigrid run as its users run it: in a process of its own."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import forked as forking
import pytest
import yaml
from filelock import FileLock

from equigrid.cli import main
from equigrid.record import Record
from equigrid.trial import Trial

EXECUTABLE = str(Path(sys.executable).with_name("equigrid"))
#: A machine under other load is no failure.
PATIENCE = 300.0
#: Signals that the command line has a hand on.
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

DATASET: dict[str, Any] = {
    "builder": "ddmnist",
    "source": "digits",
    "group": "D1xD1",
    "digits": 2,
    "per_label": {"train": 12, "val": 6, "test": 5},
}
MODEL = {"small_cnn": {"width": 4, "latent": 8}}


def space(**changes: Any) -> dict[str, Any]:
    """Six trainings of milliseconds, a trivial row, and two columns fed by one training."""
    content: dict[str, Any] = {
        "datasets": {"D1": DATASET},
        "columns": {
            "augmented": {"dataset": "D1", "split": "test_augmented", "metric": "accuracy"},
            "plain": {"dataset": "D1", "split": "test", "metric": "accuracy"},
        },
        "rows": {
            "Chance": {"model": "majority"},
            "CNN": {"model": MODEL, "objective": "augmented", "grid": {"lr": [0.003, 0.01]}},
            "Ours": {
                "model": MODEL,
                "objective": "regular_representation",
                "grid": {"lr": [0.003], "lambda": [0.5, 2]},
            },
        },
        "training": {"epochs": 3, "batch_size": 20, "patience": 3},
        "seeds": {"grid": [0], "final": [0, 1]},
        "retries": 1,
    }
    return content | changes


def write(path: Path, content: Mapping[str, Any] | None = None, /, **changes: Any) -> Path:
    """A search space as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(content or space(**changes)), sort_keys=False))
    return path


def made_up(trial: Trial, test: Any = None, epochs: int = 3, started: float = 1.7e9) -> Record:
    """A record that nobody trained; the scores differ from trial to trial."""
    scale = 1 + int(trial.key[:4], 16) / 2**16
    trained = 0 if not trial.training else epochs
    history = tuple(
        {
            "train_loss": scale / n,
            "val_loss": scale / (n + 0.5),
            "val_accuracy": 1 - scale / (2 * n),
        }
        for n in range(1, trained + 1)
    )
    return Record(
        trial=trial,
        key=trial.key,
        history=history,
        best_epoch=trained,
        validation=history[-1] if history else {},
        test=test,
        parameters=123 if trained else 0,
        data_sha256="d" * 64,
        weights_sha256="e" * 64 if trained else None,
        environment={"hardware": "a processor", "git_commit": "abc", "torch": "2.13"},
        started=started,
        epoch_seconds=(0.125,) * trained,
    )


def environment(**extra: str) -> dict[str, str]:
    """This one, without what would point equigrid, MLflow or Ray elsewhere, or at a network."""
    ours = ("EQUIGRID_", "MLFLOW_", "RAY_", "TUNE_", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return kept | nowhere | {"no_proxy": "127.0.0.1,localhost", "COLUMNS": "200"} | extra


def free_port() -> int:
    """A port of this machine that nobody listens at just now.

    Not one of those that the system gives to whoever asks for any (from 32768), nor one of Ray's
    workers' (10002 to 19999): until it is used, another test's Ray may have taken it.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port


def _as_on_a_terminal() -> None:
    """Signals as a shell leaves them, also where these tests run under nohup."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(
    *arguments: object, folder: Path, environ: Mapping[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """A command under way, in a session of its own, with Ctrl-C as on a terminal."""
    return subprocess.Popen(
        [EXECUTABLE, *map(str, arguments)],
        cwd=folder,
        env=environment(**(environ or {})),
        text=True,
        start_new_session=True,
        preexec_fn=_as_on_a_terminal,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        | options,
    )


def end_session(process: subprocess.Popen[str]) -> None:
    """Kill a command of `start` and whatever it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def equigrid(
    *arguments: object,
    folder: Path,
    expect: int | None = 0,
    environ: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command to its end; its exit code must be the expected one."""
    process = start(*arguments, folder=folder, environ=environ)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        end_session(process)
        raise
    return _ended(arguments, process.returncode, output, errors, expect)


def forked(
    *arguments: object,
    folder: Path,
    expect: int | None = 0,
    environ: Mapping[str, str] | None = None,
    drawn: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As `equigrid`, in a process forked from one that has imported everything: see `forked.py`.

    drawn: with a run's report, which takes three seconds; where a test asks for its page.
    """
    words = [str(word) for word in arguments]
    ended = forking.run(words, folder, environment(**(environ or {})), drawn, PATIENCE)
    return _ended(arguments, *ended, expect)


def _ended(
    arguments: Sequence[object], code: int, output: str, errors: str, expect: int | None
) -> subprocess.CompletedProcess[str]:
    assert expect is None or code == expect, (
        f"equigrid {' '.join(map(str, arguments))}: exit code {code}, "
        f"expected {expect}\n{output}\n{errors}"
    )
    return subprocess.CompletedProcess(arguments, code, output, errors)


def in_this_process(
    *arguments: object,
    folder: Path,
    expect: int | None = 0,
    environ: Mapping[str, str] | None = None,
    drawn: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As `equigrid`, without the seconds that a process takes to import everything.

    For tests of many commands; it also shows that a process that stays keeps nothing stale. drawn:
    as in `forked`.
    """
    output, errors, argv = io.StringIO(), io.StringIO(), sys.argv
    handlers = {number: signal.getsignal(number) for number in NUMBERS}
    before, path, kept = Path.cwd(), list(sys.path), dict(os.environ)
    os.environ.update(environ or {})
    os.chdir(folder)
    sys.argv = ["equigrid", *map(str, arguments)]
    try:
        with redirect_stdout(output), redirect_stderr(errors), forking.reports(drawn):
            main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.argv, sys.path[:] = argv, path
        for name in environ or {}:
            os.environ.pop(name)
        os.environ.update(kept)
        os.chdir(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return _ended(arguments, code, output.getvalue(), errors.getvalue(), expect)


def undisturbed(factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.yaml` run to its end in `workspace`: once a session, not to be changed.

    `output.txt` is what the run printed. Test processes side by side share it.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    with FileLock(f"{folder}.lock"):
        if not (folder / "output.txt").exists():
            write(folder / "tiny.yaml")
            done = forked("run", "tiny.yaml", "--in-process", folder=folder, drawn=True)
            (folder / "output.txt").write_text(done.stdout)
    return folder


def made_store(workspace: Path, factory: pytest.TempPathFactory) -> None:
    """Give a new workspace a store, which takes seconds to make; runs of `tiny` are in it."""
    workspace.mkdir()
    shutil.copy(undisturbed(factory) / "workspace" / "mlflow.db", workspace)


def tables(workspace: Path, name: str = "tiny") -> dict[str, bytes]:
    """The bytes of a finished table's text files."""
    folder = workspace / "tables" / name
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder: Path, below: Sequence[str]) -> dict[str, bytes]:
    """The bytes of every file in some folders of a workspace; locks are no content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in below
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
