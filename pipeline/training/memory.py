"""Memory that trainings free, kept for their next step.

A step on a CPU frees and asks for hundreds of megabytes. glibc hands large blocks back to the
system at once and gets them anew, page by page: a third of a step's time. Kept, the same numbers
come out, to the bit.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

from equigrid.machine import cores, memory

#: Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
#: mallopt takes a C int.
MOST = 2**31 - 1
#: What the heap grows by at a time.
PIECE = 64 * 2**20
#: Of a core's share of the memory, at most so much lies unused.
PART = 4


def kept() -> int:
    """How many bytes of freed memory a training on this machine's CPU keeps; 0: none.

    None without glibc, and none of our doing where GLIBC_TUNABLES says what glibc should do.
    """
    if platform.libc_ver()[0] != "glibc" or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return 0
    return min(MOST, memory() // (PART * cores()))


def _glibc() -> Any:
    return ctypes.CDLL("libc.so.6")


def keep_freed(device: str = "cpu") -> int:
    """From now on this process keeps what it frees, up to `kept()` bytes; returns how many.

    Nothing where it trains on another device than the CPU.
    """
    most = kept() if device.startswith("cpu") else 0
    if most:
        libc = _glibc()
        libc.mallopt(M_MMAP_MAX, 0)  # no block has a mapping of its own
        libc.mallopt(M_TRIM_THRESHOLD, most)
        libc.mallopt(M_TOP_PAD, min(PIECE, most))
    return most


def give_back() -> None:
    """Hand all that is free back to the system: a process that waits holds nothing."""
    if kept():
        _glibc().malloc_trim(0)
