"""What a user's code prints while a trial runs in a process that no terminal belongs to."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

#: Bytes that are kept of one trial.
MOST = 1_000_000


class _File(io.TextIOBase):
    """Appends to a file that is there only once something is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size if path.exists() else 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text and self.size <= MOST:
            data = text.encode("utf-8", "backslashreplace")
            self.size += len(data)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(data if self.size <= MOST else b"\n(more is not kept)\n")
        return len(text)


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Append what is printed meanwhile, and warnings, to a file; no more than `MOST` bytes."""
    file = _File(path)
    with redirect_stdout(file), redirect_stderr(file):
        yield
