"""A run of one's own listens at the loopback address alone: nobody on the network reaches it."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Iterator
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


def test_every_process_of_a_run_listens_at_the_loopback_address_alone(tmp_path: Path) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("only Linux lists its sockets in /proc")
    spaces.write(
        tmp_path / "long.yaml", training={"epochs": 100_000, "batch_size": 20, "patience": 100_000}
    )
    running, home = tmp_path / "workspace" / "running", tmp_path / "home"
    home.mkdir()
    # Settings that are empty are none: Ray itself would listen for a cluster, with a token in home.
    none = dict.fromkeys(("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"), "")
    environ = none | {"HOME": str(home)}
    process = spaces.start("run", "long.yaml", folder=tmp_path, environ=environ)
    try:
        deadline = time.monotonic() + spaces.PATIENCE
        while not list(running.glob("*/checkpoint")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        processes = family(process.pid)
        names = {(Path("/proc") / str(pid) / "comm").read_text().strip() for pid in processes}
        ours = set().union(*map(sockets, processes))
        found = [address for inode, address in addresses() if inode in ours]
    finally:
        spaces.end_session(process)
    assert {"raylet", "gcs_server"} <= names
    assert not (home / ".ray").exists()
    assert len(found) >= 4, found
    assert [str(address) for address in found if not address.is_loopback] == []
