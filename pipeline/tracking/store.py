"""Plain values of tracking: where an experiment is tracked, and what its store refused."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("equigrid")

#: The experiment's tag that a writer moves on when it has written.
CHANGED = "equigrid.changed"

#: row, dataset, role, run key: what makes a run the only one of its kind in its experiment.
Identity = tuple[str, str, str, str]


class StoreError(Exception):
    """The store cannot be read or written; the text says why, and what to do."""


@dataclass(frozen=True)
class Store:
    """Where an experiment is tracked.

    refusals: the file that names the records which the store refused; None keeps none.
    """

    uri: str
    artifact_folder: Path
    experiment: str
    refusals: Path | None = None

    @property
    def database(self) -> Path | None:
        """The file of a SQLite store; None of a server, or where options follow the path."""
        is_plain = self.uri.startswith("sqlite:///") and "?" not in self.uri
        return Path(self.uri.removeprefix("sqlite:///")) if is_plain else None


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
