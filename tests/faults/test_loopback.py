"""A run of one's own listens at the loopback address alone, whatever it finds around it."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import spaces

pytestmark = pytest.mark.cluster

#: State of a socket that listens, in /proc/net/tcp.
LISTENS = "0A"


def family(root: int) -> set[int]:
    """A process and all that it started, and they."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(folder.name)] = int(after_name[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                found.add(target[len("socket:[") : -1])
    except OSError:  # it has just ended
        pass
    return found


def addresses() -> Iterator[tuple[str, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Inode and address of everything that listens on this machine."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] != LISTENS:
                continue
            digits = fields[1].partition(":")[0]
            # Words of four bytes in the machine's order.
            words = [bytes.fromhex(digits[n : n + 8]) for n in range(0, len(digits), 8)]
            address = ipaddress.ip_address(b"".join(socket.ntohl(
                int.from_bytes(word, "big")).to_bytes(4, "big") for word in words))  # fmt: skip
            yield fields[9], getattr(address, "ipv4_mapped", None) or address


@dataclass(frozen=True)
class Seen:
    """A run under way. commands: of its processes, by name. code, errors: of its end."""

    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]
    commands: dict[str, str]
    home: Path
    code: int
    errors: str


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Of one run, with settings that are not meant for it, whose terminal goes away."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux lists its sockets in /proc")
    folder = tmp_path_factory.mktemp("run")
    home, long = folder / "home", folder / ("d" * 100)
    home.mkdir()
    long.mkdir()
    spaces.made_store(folder / "workspace", tmp_path_factory)
    spaces.write(
        folder / "long.yaml", training={"epochs": 100_000, "batch_size": 20, "patience": 100_000}
    )
    # Settings that are empty are none: Ray itself would listen for a cluster, with a token in home.
    none = dict.fromkeys(("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"), "")
    others = {
        "HOME": str(home), "TMPDIR": str(long), "PYTHONWARNINGS": "error",
        "RAY_RUNTIME_ENV_HOOK": "nowhere.hook", "TUNE_RESULT_DIR": str(home / "results"),
        "RAY_AIR_LOCAL_CACHE_DIR": str(home / "cache"),
    }  # fmt: skip
    nobody, output = os.pipe()
    os.close(nobody)
    process = spaces.start("run", "long.yaml", folder=folder, environ=none | others, stdout=output)
    os.close(output)
    try:
        deadline = time.monotonic() + spaces.PATIENCE
        while not list((folder / "workspace" / "running").glob("*/checkpoint")):
            assert process.poll() is None, process.communicate(timeout=10)
            assert time.monotonic() < deadline
            time.sleep(0.2)
        processes = family(process.pid)
        commands = {
            (Path("/proc") / str(pid) / "comm").read_text().strip(): (
                Path("/proc") / str(pid) / "cmdline"
            ).read_text()
            for pid in processes
        }
        ours = set().union(*map(sockets, processes))
        found = [address for inode, address in addresses() if inode in ours]
        process.send_signal(signal.SIGHUP)
        _, errors = process.communicate(timeout=spaces.PATIENCE)
    finally:
        spaces.end_session(process)
    return Seen(found, commands, home, process.returncode, errors)


def test_every_process_of_a_run_listens_at_the_loopback_address_alone(seen: Seen) -> None:
    assert {"raylet", "gcs_server"} <= seen.commands.keys()
    assert not (seen.home / ".ray").exists()
    assert len(seen.addresses) >= 4, seen.addresses
    assert [str(address) for address in seen.addresses if not address.is_loopback] == []


def test_its_sockets_have_short_paths(seen: Seen) -> None:
    assert "--raylet_socket_name=/tmp/ray/session_" in seen.commands["raylet"]


def test_a_terminal_that_is_closed_loses_nothing_but_what_would_be_printed(seen: Seen) -> None:
    lost, *_, last = seen.errors.splitlines()
    assert lost.startswith("equigrid: standard output: Broken pipe; it goes on"), seen.errors
    assert last == "equigrid: interrupted; run the same command again to go on"
    assert seen.code == 128 + signal.SIGHUP
