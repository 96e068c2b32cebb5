"""Commands in processes that are forked from one which has imported everything already.

Each is a process of its own, with its own number, environment and working folder; what is saved are
the seconds that a process takes to import torch and MLflow. Not for what a process reads as it
starts: PYTHONPATH, PYTHONOPTIMIZE, its streams' encoding, OMP_NUM_THREADS. Not for Ray either,
which reads its settings when it is imported, so that it is not among the imports.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

TESTS = Path(__file__).parent
#: Where Python looks for modules: without these tests, and before any of them has added to it.
PATH = [it for it in sys.path if not Path(it).is_relative_to(TESTS)]
#: What commands import one by one, where they use it; not what looks at the terminal then.
IMPORTS = [
    "torch", "mlflow", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "pandas",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg", "h5py", "scipy.ndimage", "scipy.stats", "sklearn.datasets",
    "sklearn.neighbors", "typer", "rich.live", "rich.logging", "rich.progress", "rich.table",
    "equigrid.orchestration.in_process", "equigrid.stages.run", "equigrid.tracking.session",
    "equigrid.tracking.query",
]  # fmt: skip


@contextmanager
def reports(drawn: bool) -> Iterator[None]:
    """Let runs write their report, or leave it out."""
    with ExitStack() as stack:
        if not drawn:
            stack.enter_context(patch("equigrid.stages.run.report", lambda *_: ""))
        yield


def _command(
    arguments: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    drawn: bool,
    path: Sequence[str],
    files: Sequence[str],
) -> None:
    """In the forked process: as if `equigrid` had been started there."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    for number, (name, mode) in enumerate(zip((os.devnull, *files), "rww", strict=True)):
        with open(name, mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = (open(n, m) for n, m in enumerate("rww"))  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.path[:] = path
    sys.argv = ["equigrid", *arguments]
    from equigrid.cli import main

    try:
        with reports(drawn):
            main()
    finally:
        atexit._run_exitfuncs()


def run(
    arguments: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    drawn: bool,
    patience: float,
) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; TimeoutError where it takes too long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)
    with tempfile.TemporaryDirectory() as place:
        files = [str(Path(place) / name) for name in ("output", "errors")]
        for file in files:
            Path(file).touch()
        process = context.Process(
            target=_command, args=(arguments, folder, environ, drawn, PATH, files)
        )
        process.start()
        process.join(patience)
        if process.exitcode is None:
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            raise TimeoutError(f"equigrid {' '.join(arguments)}: not done in {patience:.0f} s")
        output, errors = (Path(file).read_text() for file in files)
        return process.exitcode, output, errors
