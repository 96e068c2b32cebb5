"""The results of all records of a workspace, without reading each record every time."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from pipeline.files import write_atomically
from pipeline.orchestration.workspace import Workspace
from pipeline.record import Result

log = logging.getLogger("equigrid")

#: Of the index file's content.
SCHEMA = 1

#: Size and time of a record's file, and what it says.
Entry = tuple[tuple[int, int], Result]


def recorded_results(workspace: Workspace) -> dict[str, Result]:
    """Results by run key. A record is read when its file's size or time is new to the index."""
    folder = workspace.record_file("").parent
    if not folder.is_dir():
        return {}
    known = _load(workspace)
    entries: dict[str, Entry] = {}
    for path in folder.glob("*.json"):
        status = path.stat()
        mark = (status.st_size, status.st_mtime_ns)
        entry = known.get(path.stem)
        if entry is None or entry[0] != mark:
            record = workspace.record(path.stem)
            if record is None:
                continue
            entry = (mark, Result.of(record))
        entries[path.stem] = entry
    if entries != known:
        content = {key: [mark, asdict(result)] for key, (mark, result) in entries.items()}
        text = json.dumps({"schema": SCHEMA, "records": content})
        write_atomically(workspace.record_index, text, durable=False)
    return {key: result for key, (_, result) in entries.items()}


def _load(workspace: Workspace) -> dict[str, Entry]:
    path = workspace.record_index
    try:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            return {}
        return {
            key: ((mark[0], mark[1]), Result(**result))
            for key, (mark, result) in content["records"].items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        log.warning("%s: damaged (%r); made anew from the records", path, error)
        return {}
