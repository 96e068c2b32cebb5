"""How a command ends on a signal: Ctrl-C, a batch system's SIGTERM, a terminal that closes."""

from __future__ import annotations

import os
import signal

from equigrid.commands.output import tell

#: The exit code after Ctrl-C.
INTERRUPTED = 130
#: The exit code of what interrupted the command, where it was not Ctrl-C.
ended_by: list[int] = []


def interrupt(signal_number: int, frame: object) -> None:
    """Ctrl-C once ends in order, with a word at once; twice ends now: Ray goes with its driver."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    tell("equigrid: ending; Ctrl-C again to end at once")
    raise KeyboardInterrupt


def end_on_signals() -> None:
    """A batch system's signal, or a terminal that closes, ends in order too, as one Ctrl-C does."""

    def terminate(signal_number: int, frame: object) -> None:
        ended_by.append(128 + signal_number)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, terminate)
