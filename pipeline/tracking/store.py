"""Plain values of tracking: where an experiment is tracked, and what its store refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from equigrid.record import Result
from equigrid.trial import Trial

log = logging.getLogger("equigrid")

#: The experiment's tag that a writer moves on when it has written.
CHANGED = "equigrid.changed"

#: The scheme of a SQLite file's quoted path, see `sqlite_uri`.
QUOTED = "sqlite+pysqlite"

#: row, dataset, role, run key: what makes a run the only one of its kind in its experiment.
Identity = tuple[str, str, str, str]


@dataclass(frozen=True)
class Store:
    """Where an experiment is tracked.

    refusals: the file that names the records which the store refused; None keeps none.
    run_files: where further files of runs lie, in a folder by run key.
    """

    uri: str
    artifact_folder: Path
    experiment: str
    refusals: Path | None = None
    run_files: Path | None = None

    @property
    def is_server(self) -> bool:
        """Whether a server writes the database and places artifacts; else this process does."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def database(self) -> Path | None:
        """The file of a SQLite store; None of any other, or where options follow the path."""
        return sqlite_file(self.uri)


def sqlite_file(uri: str) -> Path | None:
    """The path in a SQLite file's URI; None in any other, or where options follow it."""
    scheme, _, path = uri.partition(":///")
    is_plain = scheme in ("sqlite", QUOTED) and path and "?" not in path
    return Path(unquote(path)) if is_plain else None


def sqlite_uri(path: Path) -> str:
    """A SQLite file as MLflow's client takes it, whatever letters are in its path."""
    if "?" not in str(path) and "%" not in str(path):
        return f"sqlite:///{path}"
    # Of a plain `sqlite:` MLflow makes the folders as they are written, with their %.
    return f"{QUOTED}:///{quote(str(path))}"


def read_refusals(path: Path) -> dict[Identity, str]:
    """Why the store refused records, by the identity of their runs."""
    try:
        entries = json.loads(path.read_text("utf-8"))
        return {(row, dataset, role, key): reason for row, dataset, role, key, reason in entries}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        log.warning("%s: damaged (%s); the next run finds out again", path, error)
        return {}


@dataclass(frozen=True)
class TrackedRun:
    """status: MLflow's. result: of a finished run. failure: the reason of a failed one."""

    run_id: str
    status: str
    result: Result | None = None
    failure: str = ""


@dataclass(frozen=True)
class Tracked:
    """runs: one by identity, finished before others. doubled: run ids beyond the one."""

    runs: Mapping[Identity, TrackedRun]
    doubled: tuple[str, ...] = ()

    @cached_property
    def results(self) -> Mapping[str, Result]:
        """By run key; a final's has the test scores too, so it is preferred."""
        found: dict[str, Result] = {}
        for (_, _, _, key), run in self.runs.items():
            if run.result is not None and (key not in found or run.result.test is not None):
                found[key] = run.result
        return found

    @cached_property
    def failures(self) -> Mapping[str, str]:
        """Reasons by run key."""
        return {key: run.failure for (_, _, _, key), run in self.runs.items() if run.failure}

    def run(self, trial: Trial) -> TrackedRun | None:
        return self.runs.get(identity_of(trial))

    def difference(self, trial: Trial, recorded: Result) -> str:
        """How the tracked run of a trial departs from its record; empty where it does not."""
        run = self.run(trial)
        if run is None or run.result is None:
            return "recorded, not tracked"
        names = [
            name
            for name in ("validation", "test", "parameters", "device", "data_sha256")
            if (name != "test" or trial.role == "final")
            and getattr(run.result, name) != getattr(recorded, name)
        ]
        return f"tracked with other {', '.join(names)} than recorded" if names else ""


def identity_of(trial: Trial) -> Identity:
    return trial.row, trial.dataset, trial.role, trial.key
