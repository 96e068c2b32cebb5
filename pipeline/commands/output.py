"""What a command prints, wherever that goes: a terminal, a file, a pipe that nobody reads."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console

from equigrid.machine import give_streams


class Output(Console):
    """Standard output. Where it cannot be written, a command that only prints ends.

    goes_on: it does more than print; then the rest is dropped, with a line on standard error. An
    exception would end it anywhere, or count as a fault of whatever it was about to tell of.
    """

    goes_on = False

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError as error:
            self._drop(error)

    def on_broken_pipe(self) -> None:
        if self.goes_on:
            self._drop(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
        else:
            super().on_broken_pipe()

    def _drop(self, error: OSError) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        text = f"standard output: {error.strerror}"
        if not self.goes_on:
            raise OSError(error.errno, text) from error
        tell(f"equigrid: {text}; it goes on, the table and the report will be in the workspace")


def tell(text: str) -> None:
    """A line on standard error; where nobody can have it (`2>&1 | tee`, and Ctrl-C), none."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


give_streams()
for _name in ("COLUMNS", "LINES"):
    if os.environ.get(_name) == "0":  # nothing would be seen
        del os.environ[_name]
# Into a file or a pipe, lines are not cut at 80 characters, and nothing moves (FORCE_COLOR).
console = Output() if sys.stdout.isatty() else Output(width=160, force_interactive=False)
