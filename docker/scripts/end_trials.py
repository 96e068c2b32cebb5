"""`end_trials.py PID`: SIGTERM to every trial among the descendants of `ray start`.

Each takes its checkpoint to the workspace and ends. Ray itself kills them without a word.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

#: How Ray names the process of a trial: between two slices, and in one (the class that Tune makes).
TRIAL = ("ray::TrialActor", "ray::ResourceTrainable")
#: Seconds in which the head hears that this node goes away: else it starts them here once more.
HEARD = 1.0


def descendants(root: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def main() -> None:
    time.sleep(HEARD)
    for pid in descendants(int(sys.argv[1])):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_text().startswith(TRIAL):
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
