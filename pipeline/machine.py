"""What of a machine this process may use: cores, memory, a home; and whether a run is for it."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from equigrid.errors import InputError

#: Where the kernel shows control groups: version 2 at its top or in a folder, version 1 in others.
GROUPS = Path("/sys/fs/cgroup")
#: Of the 107 bytes of a socket's path Ray's own names take up to 68.
LONGEST_FOLDER = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")


def cluster() -> str | None:
    """The Ray cluster that RAY_ADDRESS names; None where a run has a Ray of this machine's own."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


def cores(groups: Path = GROUPS) -> int:
    """How many processes can compute at once: by affinity (taskset, cpusets) and by quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    most = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([most, *map(int, _quotas(groups))]))


def memory(groups: Path = GROUPS) -> int:
    """Bytes that this machine has, or that its container may use."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _control_groups("memory", groups):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += _numbers(folder / name)[:1]
    return min(limits)


def _quotas(groups: Path) -> Iterator[float]:
    """Cores' worth of time, of every control group this process is in that has a limit."""
    for folder in _control_groups("cpu", groups):
        of_two = _numbers(folder / "cpu.max")
        of_one = [*_numbers(folder / "cpu.cfs_quota_us"), *_numbers(folder / "cpu.cfs_period_us")]
        for found in (of_two, of_one):
            if len(found) == 2 and found[0] > 0 and found[1] > 0:  # −1: no limit
                yield found[0] / found[1]


def _control_groups(controller: str, groups: Path) -> Iterator[Path]:
    """The folders of this process's control groups, from its own to the top: each may limit it.

    In a container the top may be its own group, whatever path the kernel tells.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        for top in (groups / names, groups / controller) if names else (groups, groups / "unified"):
            below = Path(path.lstrip("/"))
            for part in (below, *below.parents):
                if ".." not in part.parts and (top / part).is_dir():
                    yield top / part


def _numbers(path: Path) -> list[int]:
    """Those in a file of the kernel's; none where there is no such file, or no limit (`max`)."""
    try:
        return [int(word) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def expanded(path: Path) -> Path:
    """With the home in place of a ~: not every shell writes it, and none inside a setting."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{path}: this machine knows no such user's home") from None


def cache_folder() -> Path:
    """Where a user keeps what can be had again: XDG_CACHE_HOME, ~/.cache, or else a temporary one.

    The last where there is no home, or (as for a user that a container does not know) none that can
    be written.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        given = given.expanduser()
        # One that depends on the working folder is to be ignored, says its specification.
        folder = (given if given.is_absolute() else Path.home() / ".cache") / "equigrid"
    except RuntimeError:
        return _temporary()
    there = next(it for it in (folder, *folder.parents) if it.exists())
    return folder if there == folder or os.access(there, os.W_OK) else _temporary()


def sockets_folder() -> Path:
    """Where a Ray of this machine's own has its sockets: their paths must be short.

    RAY_TMPDIR, which is made where it is not there, else TMPDIR or /tmp. Raises InputError where
    none of them will do.
    """
    given = os.environ.get("RAY_TMPDIR")
    if given:
        with suppress(OSError):
            Path(given).mkdir(parents=True, exist_ok=True)
    for name in [given] if given else filter(None, [os.environ.get("TMPDIR"), "/tmp"]):
        path = Path(name).absolute()
        is_short = len(os.fsencode(path)) <= LONGEST_FOLDER
        if is_short and path.is_dir() and os.access(path, os.W_OK | os.X_OK):
            return path
    raise InputError(
        f"{given or '/tmp'}: Ray's sockets need a folder that is there, can be written, and has a "
        f"path of at most {LONGEST_FOLDER} bytes: name one in RAY_TMPDIR, or run with --in-process"
    )


def check_loopback() -> None:
    """InputError where no process reaches another at 127.0.0.1, as in a network of its own.

    Ray's would wait for each other for a quarter of an hour, and not hear a signal.
    """
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as error:
        raise InputError(
            f"Ray's processes talk at 127.0.0.1, which cannot be reached ({error.strerror}): "
            "`ip link set lo up`, or run with --in-process"
        ) from None


def give_home() -> None:
    """A user without a home or a name gets one: libraries ask for both, and fail."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_temporary())
    try:
        getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises the other one
        os.environ["LOGNAME"] = os.environ["USER"] = f"uid{os.getuid()}"


def give_streams() -> None:
    """What a parent has closed (`>&-`) leads nowhere: else a file or a socket gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _temporary() -> Path:
    """This user's own, the same the next time; a new one where somebody else has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"equigrid-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if folder.lstat().st_uid == os.getuid() else Path(tempfile.mkdtemp())
