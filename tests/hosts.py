"""Several hosts on one machine: a network namespace each, with an address, a name and a disk.

Needs root and iproute2. What a host cannot see of another: its processes' network, and everything
below `base`, which each worker host has to itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SUBNET = "10.213.7"


def why_not() -> str:
    """Why there can be no hosts here, empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    tried = subprocess.run(["ip", "netns", "add", "eqg-try"], capture_output=True, text=True)
    if tried.returncode:
        return f"no network namespace can be made: {tried.stderr.strip()}"
    _ip("netns", "delete", "eqg-try")
    return ""


def _ip(*arguments: str) -> str:
    command = ["ip", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _firewall(how: str) -> None:
    """Where a container engine is, or was, its firewall drops what passes a bridge of others."""
    if shutil.which("iptables"):
        rule = ["FORWARD", "-i", "eqg-bridge", "-o", "eqg-bridge", "-j", "ACCEPT"]
        subprocess.run(["iptables", how, *rule], check=False, capture_output=True)


@dataclass
class Host:
    """One namespace. private: `base` is an empty disk of its own."""

    name: str
    address: str
    base: Path
    private: bool
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return f"eqg-{self.name}"

    @property
    def log(self) -> Path:
        return self.base / f"{self.name}.log"

    def start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Run a command on this host, under its name; output goes to its log."""
        hide = f"mount -t tmpfs tmpfs {self.base} && " if self.private else ""
        inside = f'hostname {self.name} && {hide}exec "$@"'
        wrapped = ["unshare", "--mount", "--uts", "sh", "-c", inside, "sh", *command]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *wrapped],
                env=dict(environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd="/", start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def pids(self) -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", self.namespace).split()]

    def cut(self) -> None:
        """Pull the cable."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")

    def kill(self) -> None:
        """Everything on it at once, as when the power goes."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self.processes:
            process.wait()


@contextmanager
def network(names: Mapping[str, bool]) -> Iterator[dict[str, Host]]:
    """Hosts by name (True: with a disk of its own), joined by a bridge; all ended at the end.

    The machine itself has the address SUBNET.1.
    """
    base = Path(tempfile.mkdtemp(prefix="eqg"))
    base.chmod(0o755)
    hosts = {
        name: Host(name, f"{SUBNET}.{n}", base, private)
        for n, (name, private) in enumerate(names.items(), 2)
    }
    try:
        _ip("link", "add", "eqg-bridge", "type", "bridge")
        _ip("addr", "add", f"{SUBNET}.1/24", "dev", "eqg-bridge")
        _ip("link", "set", "eqg-bridge", "up")
        _firewall("--insert")
        for host in hosts.values():
            cable = f"eqg{host.address.rpartition('.')[2]}"
            _ip("netns", "add", host.namespace)
            _ip("link", "add", cable, "type", "veth", "peer", "eth0", "netns", host.namespace)
            _ip("link", "set", cable, "master", "eqg-bridge", "up")
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            _ip("-n", host.namespace, "link", "set", "eth0", "up")
            _ip("-n", host.namespace, "link", "set", "lo", "up")
        yield hosts
    finally:
        for host in hosts.values():
            if Path("/run/netns", host.namespace).exists():
                host.kill()
                _ip("netns", "delete", host.namespace)
        _firewall("--delete")
        subprocess.run(["ip", "link", "delete", "eqg-bridge"], check=False, capture_output=True)
        shutil.rmtree(base, ignore_errors=True)
