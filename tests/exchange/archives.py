"""A made-up experiment's bundle, and an independent writer of archives like it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import spaces

from equigrid.config.experiment import Experiment
from equigrid.errors import InputError
from equigrid.exchange.importing import import_files
from equigrid.planning.ledger import Ledger
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace

Contents = dict[str, bytes]
Entries = list[tuple[zipfile.ZipInfo, bytes]]


@dataclass(frozen=True)
class Made:
    """A finished experiment that nobody trained, its bundle, and what is in it by name."""

    experiment: Experiment
    workspace: Workspace
    path: Path
    contents: Contents

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def record(self, row: str = "Ours") -> str:
        """The name of a row's first record."""
        return next(
            name for name, content in self.contents.items()
            if name.startswith("records/") and json.loads(content)["trial"]["row"] == row
        )  # fmt: skip


def plan_of(experiment: Experiment, workspace: Workspace) -> Plan:
    return Ledger(experiment, workspace).plan()


def scores(key: str) -> dict[str, dict[str, float]]:
    score = int(key[:4], 16) / 2**16
    return {"test": {"accuracy": score}, "test_augmented": {"accuracy": score / 2}}


def finish(experiment: Experiment, workspace: Workspace) -> None:
    """Records for the whole grid, then for the finals it selects."""
    for trial in plan_of(experiment, workspace).missing("grid"):
        spaces.made_up(trial).save(workspace.record_file(trial.key))
    for trial in plan_of(experiment, workspace).missing("final"):
        spaces.made_up(trial, scores(trial.key)).save(workspace.record_file(trial.key))


def refuses(data: bytes, folder: Path, *parts: str) -> str:
    """An import refuses the file in one line that names it, and writes nothing."""
    path, workspace = folder / "given.zip", folder / "workspace"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        import_files([path], Workspace(workspace))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert len(text) < 1100
    assert not workspace.exists()
    for part in parts:
        assert part in text
    return text


# An independent writer: Python's own zip files, with a manifest made here.


def info(name: str, **fields: Any) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100644 << 16
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def archive(entries: Entries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for entry, content in entries:
            file.writestr(entry, content, entry.compress_type)
    return buffer.getvalue()


def manifest(contents: Mapping[str, bytes], change: Callable[[Any], object] | None = None) -> bytes:
    members = {
        name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        for name, content in contents.items()
    }
    about = {"experiment": "tiny", "equigrid": "0.1.0", "missing": "0"}
    data = {"schema": 1, "about": about, "members": members}
    if change is not None:
        change(data)
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def members(made: Made, **changes: bytes | None) -> Contents:
    """The bundle's members but for the manifest; None leaves one out."""
    changed: dict[str, bytes | None] = {**made.contents, **changes}
    return {
        name: content
        for name, content in changed.items()
        if content is not None and name != "manifest.json"
    }


def entries(contents: Contents, listing: bytes | None = None) -> Entries:
    listing = manifest(contents) if listing is None else listing
    return [(info(name), content) for name, content in
            [("manifest.json", listing), *sorted(contents.items())]]  # fmt: skip
