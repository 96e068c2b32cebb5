"""A driver in a process of its own that can be killed, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import spaces

#: In the environment of a driver, and so of everything it starts.
MARK = "EQUIGRID_TEST_DRIVER"
POLL = 0.02
#: Ray's own helpers. When their raylet dies, they try for a minute to tell a head that is dead
#: too, and end. They train nothing and hold nothing.
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent", "dashboard/agent.py", "agent/main.py")


@dataclass
class Driver:
    """`equigrid run SPACE` under way. output: the file that it prints into."""

    space: str
    folder: Path
    workspace: Path
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        self.output = self.folder / f"{self.mark}.txt"
        with self.output.open("w") as output:
            self.process = spaces.start(
                "run", self.space, "--workspace", self.workspace, *self.options,
                folder=self.folder, environ={**self.environ, MARK: self.mark},
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def until(self, condition: Callable[[], object], patience: float = spaces.PATIENCE) -> bool:
        """Wait for something while the driver runs; False where the driver ended before."""
        deadline = time.monotonic() + patience
        while not condition():
            if not self.is_running:
                return False
            assert time.monotonic() < deadline, f"waited in vain; {self.output.read_text()}"
            time.sleep(POLL)
        return True

    def kill(self) -> None:
        """SIGKILL to the driver alone: its workers have to see to themselves."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ends(self, patience: float) -> bool:
        """Whether it ends by itself within `patience` seconds."""
        deadline = time.monotonic() + patience
        while self.is_running and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.is_running

    def finish(self) -> None:
        """Wait for its end, which must be a complete table."""
        code = self.process.wait(timeout=4 * spaces.PATIENCE)
        assert code == 0, f"exit code {code}\n{self.output.read_text()}"

    def processes(self) -> dict[int, str]:
        """Everything alive that this driver started, itself included: command lines by id."""
        wanted, found = f"{MARK}={self.mark}".encode(), {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = command.decode(errors="replace").strip()
            except OSError:
                continue  # it ended, or it is somebody else's
        return found

    def workers(self) -> dict[int, str]:
        """The same, without Ray's own helpers."""
        found = self.processes().items()
        return {number: it for number, it in found if not any(name in it for name in AGENTS)}

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


class Drivers(list[Driver]):
    """Drivers one after another; as a context it ends by ending whatever is left of them."""

    def __enter__(self) -> Drivers:
        return self

    def __exit__(self, *_: object) -> None:
        for driver in self:
            driver.end()

    def start(
        self,
        space: str,
        folder: Path,
        workspace: Path,
        *options: str,
        environ: Mapping[str, str] | None = None,
    ) -> Driver:
        self.append(Driver(space, folder, workspace, options, environ or {}))
        return self[-1]

    def orphans(self, patience: float) -> list[str]:
        """What is alive of drivers that are not, when it was waited for long enough."""
        deadline = time.monotonic() + patience
        while True:
            alive = [it for driver in self if not driver.is_running
                     for it in driver.processes().values()]  # fmt: skip
            if not alive or time.monotonic() > deadline:
                return alive
            time.sleep(0.2)


def in_flight(workspace: Path) -> dict[str, int]:
    """The keys that are being trained right now, with the process: the kernel's own list."""
    claims = {}
    if (workspace / "claims").is_dir():
        claims = {path.stat().st_ino: path.name for path in (workspace / "claims").iterdir()}
    held = {}
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" in fields or fields[1] != "FLOCK":
            continue
        inode = int(fields[5].rpartition(":")[2])
        if inode in claims:
            held[claims[inode]] = int(fields[4])
    return held


def begun(workspace: Path) -> set[str]:
    """The keys in flight that have an epoch behind them and none in front of their record."""
    return {
        key
        for key in in_flight(workspace)
        if (workspace / "running" / key / "checkpoint").exists()
        and not (workspace / "records" / f"{key}.json").exists()
    }


def trained(workspace: Path) -> dict[str, tuple[float, tuple[float, ...]]]:
    """When each recorded training began and how long each of its epochs took: its fingerprint."""
    times = {}
    if (workspace / "records").is_dir():
        for path in (workspace / "records").glob("*.json"):
            record = json.loads(path.read_text())
            times[path.stem] = (record["started"], tuple(record["epoch_seconds"]))
    return times


@contextmanager
def store_locked(workspace: Path) -> Iterator[None]:
    """Nobody else reads or writes the workspace's MLflow store."""
    import sqlite3

    path = workspace / "mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as database:
        database.execute("begin exclusive")
        yield
        database.execute("rollback")
