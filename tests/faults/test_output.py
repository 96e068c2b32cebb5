"""Where nobody can have what is printed: closed, full, a pipe, a terminal of no columns."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import spaces

from equigrid.commands.signals import interrupt

SHOWN = """
from equigrid.commands.output import console
console.print("[red]here[/]", str(console.is_interactive), highlight=False)
"""


def _shell(command: str, folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f"{before}{spaces.EXECUTABLE} {command}"], cwd=folder, text=True,
        capture_output=True, check=False, env=spaces.environment(),
    )  # fmt: skip


def test_closed_streams_lead_nowhere(tmp_path: Path) -> None:
    """A file that is opened first would get their numbers, and what is printed."""
    spaces.write(tmp_path / "tiny.yaml")
    done = _shell("plan tiny.yaml <&- >&- 2>&-", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_under_what_is_printed_is_named(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    done = _shell("plan tiny.yaml > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "equigrid: [Errno 28] standard output: No space left on device\n"


def test_nothing_moves_in_a_pipe_whatever_colours_are_asked_for() -> None:
    """FORCE_COLOR, as builds have it, made a log of cursor movements, without a line a trial."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True,
        env=spaces.environment(FORCE_COLOR="1", TERM="xterm"),
    )  # fmt: skip
    assert done.stdout == "\x1b[31mhere\x1b[0m False\n"


@pytest.mark.parametrize(("term", "moves"), [("xterm", "True"), ("dumb", "False")])
def test_a_terminal_shows_something_however_wide_it_says_it_is(term: str, moves: str) -> None:
    """COLUMNS=0 left it empty."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", SHOWN], stdout=theirs, stdin=subprocess.DEVNULL, check=True,
            env=spaces.environment(COLUMNS="0", LINES="0", TERM=term, NO_COLOR="1"),
        )  # fmt: skip
        assert f"here {moves}" in os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_ctrl_c_is_one_though_it_ended_who_reads_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`2>&1 | tee log`: tee ends first, and what was raised was a broken pipe's error."""
    reader, writer = os.pipe()
    os.close(reader)
    handler = signal.getsignal(signal.SIGINT)
    nobody = os.fdopen(writer, "w", buffering=1)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", nobody)
            with pytest.raises(KeyboardInterrupt):
                interrupt(signal.SIGINT, None)
    finally:
        signal.signal(signal.SIGINT, handler)
        with suppress(BrokenPipeError):
            nobody.close()


def test_a_working_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    done = _shell("plan quickstart", tmp_path, "mkdir gone; cd gone; rmdir ../gone; ")
    assert done.returncode == 2
    assert done.stderr == "equigrid: the working folder was deleted: `cd` to one that is there\n"
