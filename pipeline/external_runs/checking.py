"""A written table against its store, read again past every cache."""

from __future__ import annotations

from collections.abc import Iterator

from equigrid.external_runs.opened import RunsTable
from equigrid.planning.workspace import Workspace


def differences(fresh: RunsTable, workspace: Workspace) -> Iterator[str]:
    """What the files of a table say otherwise than its runs do now; nothing where all match.

    fresh: opened past every cache.
    """
    folder = workspace.tables(fresh.name)
    for name, content in fresh.contents().items():
        path = folder / name
        if not path.exists():
            yield f"{path}: not written yet; `equigrid tables` writes it"
            continue
        before, now = path.read_text("utf-8").splitlines(), content.splitlines()
        for line in (line for line in now if line not in set(before)):
            yield f"{name}: not as written: {line[:200]}"
        if gone := [line for line in before if line not in set(now)]:
            yield f"{name}: {len(gone)} lines that are written are no longer so"
