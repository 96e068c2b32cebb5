"""Records → MLflow by one writer, and back by one query layer."""

import logging
import os

# Set before MLflow is imported, whoever imports it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Its own lines, of a store that is made; what goes wrong comes as an exception.
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
# With a server: two lines into the output for every run.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# No retries within: the writer itself tries again, and the next command sends what stays unsent.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

# What goes wrong comes as an exception, and is said in one line.
for noisy in ("mlflow", "alembic", "urllib3"):
    logging.getLogger(noisy).setLevel(logging.CRITICAL)
