"""Records → MLflow by one writer, and back by one query layer."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

#: MLflow's, where the user has set nothing else.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Its own lines, of a store that is made; what goes wrong comes as an exception.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    # With a server: two lines into the output for every run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # No retries within: the writer tries again, and the next command sends what stays unsent.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
#: What goes wrong comes as an exception, and is said in one line.
NOISY = ("mlflow", "alembic", "urllib3")


def settle() -> None:
    """Have MLflow quiet and quick to refuse in this process, before it is imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


@contextmanager
def settled() -> Iterator[None]:
    """The same for a while: in a process that is the user's."""
    missing = SETTINGS.keys() - os.environ.keys()
    levels = {noisy: logging.getLogger(noisy).level for noisy in NOISY}
    settle()
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
        for noisy, level in levels.items():
            logging.getLogger(noisy).setLevel(level)
