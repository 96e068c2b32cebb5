"""Search spaces as files."""

from __future__ import annotations

import sys

import pytest
from example import SPACE


@pytest.fixture(autouse=True)
def _same_path(monkeypatch):
    """Loading puts the file's folder on the path, for `module:object`: undo it."""
    monkeypatch.setattr(sys, "path", sys.path[:])


@pytest.fixture
def write(tmp_path):
    def to_file(text=SPACE, name="space.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file
