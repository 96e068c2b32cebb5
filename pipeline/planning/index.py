"""The results of all records of a workspace, without reading each record every time."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from equigrid.files import write_derived
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, Result
from equigrid.trial import Trial

log = logging.getLogger("equigrid")

#: Of the index file's content.
SCHEMA = 3


@dataclass(frozen=True)
class TrainedWith:
    """What a record was trained with that a trial of the same settings may have otherwise.

    key: Trial.settings_key. code: fingerprints by the names of parts from outside the package. raw:
    checksums of the raw files that its data were made of, by name.
    """

    key: str
    training_version: int
    code: Mapping[str, str]
    raw: Mapping[str, str]

    @classmethod
    def of(cls, trial: Trial) -> TrainedWith:
        raw = trial.data.get("raw", {})
        return cls(trial.settings_key, trial.training_version, trial.training_code, raw)


#: Size and time of a record's file, and what it says.
IndexEntry = tuple[tuple[int, int], Result, TrainedWith]


class RecordIndex:
    """What the records in a workspace say, by run key.

    A record is read when its file's size or time is new to the index file. From then on the index
    is told of records (`add`); `save` writes the index file where something came.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._kept = _load(workspace)
        self._entries: dict[str, IndexEntry] = {}
        folder = workspace.record_file("").parent
        for path in folder.glob("*.json") if folder.is_dir() else ():
            status = path.stat()
            mark = (status.st_size, status.st_mtime_ns)
            entry = self._kept.get(path.stem)
            if entry is None or entry[0] != mark:
                record = workspace.record(path.stem)
                if record is None:
                    continue
                entry = mark, Result.of(record), TrainedWith.of(record.trial)
            self._entries[path.stem] = entry
        self.save()

    @property
    def results(self) -> dict[str, Result]:
        return {key: result for key, (_, result, _) in self._entries.items()}

    @property
    def of_same_settings(self) -> dict[str, list[TrainedWith]]:
        """What records were trained with, by the key of their settings."""
        found: dict[str, list[TrainedWith]] = {}
        for _, _, trained in self._entries.values():
            found.setdefault(trained.key, []).append(trained)
        return found

    @property
    def raw_files(self) -> dict[str, set[str]]:
        """Checksums of each raw file, by name, that records here were trained on."""
        found: dict[str, set[str]] = {}
        for _, _, trained in self._entries.values():
            for name, checksum in trained.raw.items():
                found.setdefault(name, set()).add(checksum)
        return found

    def add(self, record: Record) -> None:
        """A record that was just written."""
        status = self.workspace.record_file(record.key).stat()
        mark = (status.st_size, status.st_mtime_ns)
        self._entries[record.key] = mark, Result.of(record), TrainedWith.of(record.trial)

    def save(self) -> None:
        if self._entries == self._kept:
            return
        content = {
            key: [mark, asdict(result), asdict(trained)]
            for key, (mark, result, trained) in self._entries.items()
        }
        text = json.dumps({"schema": SCHEMA, "records": content})
        write_derived(self.workspace.record_index, text)
        self._kept = dict(self._entries)


def _load(workspace: Workspace) -> dict[str, IndexEntry]:
    path = workspace.record_index
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["schema"] != SCHEMA:
            return {}
        return {
            key: ((mark[0], mark[1]), Result(**result), TrainedWith(**trained))
            for key, (mark, result, trained) in content["records"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        log.warning("%s: damaged (%r); made anew from the records", path, error)
        return {}
