"""What a process may use of a machine, as it is: cores, memory, folders, addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from equigrid import machine
from equigrid.errors import InputError
from equigrid.planning.workspace import Workspace

HERE = "from equigrid import machine; print(machine.cores(), machine.memory())"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinity")
def test_cores_are_those_that_a_process_may_use() -> None:
    one = min(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {HERE}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split()[0] == "1"


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A folder like that of the kernel, in which this process is in a group of each version."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        (tmp_path / names / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (tmp_path / "cpu").mkdir(exist_ok=True)
    (tmp_path / "memory").mkdir(exist_ok=True)
    return tmp_path


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="needs control groups")
def test_quotas_of_either_version_count(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert machine.cores(groups) == 64
    (groups / "cpu.max").write_text("400000 100000\n")
    assert machine.cores(groups) == 4
    (groups / "cpu.max").write_text("max 100000\n")
    assert machine.cores(groups) == 64
    (groups / "cpu.max").write_text("50000 100000\n")
    assert machine.cores(groups) == 1
    (groups / "cpu.max").unlink()
    for place in ("cpu", "cpu,cpuacct"):
        folder = groups / place
        if place in Path("/proc/self/cgroup").read_text() and folder.is_dir():
            (folder / "cpu.cfs_period_us").write_text("100000")
            (folder / "cpu.cfs_quota_us").write_text("-1")
            assert machine.cores(groups) == 64
            (folder / "cpu.cfs_quota_us").write_text("250000")
            assert machine.cores(groups) == 2
    whole = machine.memory(Path("/nowhere"))
    (groups / "memory.max").write_text("1073741824\n")
    assert machine.memory(groups) == min(whole, 2**30)


@pytest.fixture
def limited() -> Iterator[Path]:
    """A real control group of half a core's time, of version 2 or 1."""
    name = f"equigrid-{uuid4().hex[:8]}"
    quotas = {"cpu.max": "50000 100000", "cpu.cfs_quota_us": "150000"}
    for top in (machine.GROUPS, machine.GROUPS / "cpu", machine.GROUPS / "cpu,cpuacct"):
        folder = top / name
        try:
            folder.mkdir()
            (file,) = (folder / it for it in quotas if (folder / it).exists())
            file.write_text(quotas[file.name])
        except (OSError, ValueError):
            if folder.is_dir():
                folder.rmdir()
            continue
        yield folder
        folder.rmdir()
        return
    pytest.skip("control groups cannot be made here")


def test_a_real_quota_counts(limited: Path) -> None:
    code = f"open('{limited}/cgroup.procs', 'w').write('0'); {HERE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "1"


@pytest.mark.parametrize("name", ["", "  ", "local"])
def test_an_address_that_means_here_is_no_cluster(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", name)
    assert machine.cluster() is None
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert machine.cluster() == "head:6379"


def test_sockets_lie_where_their_paths_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("d" * 100)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    for unfit in (str(long), "", str(tmp_path / "not there")):
        monkeypatch.setenv("TMPDIR", unfit)
        assert machine.sockets_folder() == Path("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with pytest.raises(InputError, match=r"at most 39 bytes: name one in RAY_TMPDIR"):
        machine.sockets_folder()


def test_a_home_is_found_or_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert machine.cache_folder() == tmp_path / ".cache" / "equigrid"
    assert Workspace(Path("~/here")).root == (tmp_path / "here").resolve()
    with pytest.raises(InputError, match="knows no such user"):
        Workspace(Path("~no-such-user/here"))
    monkeypatch.setenv("XDG_CACHE_HOME", "~/own")
    assert machine.cache_folder() == tmp_path / "own" / "equigrid"
    monkeypatch.setenv("XDG_CACHE_HOME", "wherever/a/command/starts")
    assert machine.cache_folder() == tmp_path / ".cache" / "equigrid"


def test_a_machine_that_does_not_reach_itself_is_named() -> None:
    """Ray waited for a quarter of an hour, deaf to SIGTERM."""
    machine.check_loopback()
    alone = ["unshare", "-n"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("networks cannot be made here")
    code = "from equigrid.machine import check_loopback as check; check()"
    done = subprocess.run(
        [*alone, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    (*_, last) = done.stderr.splitlines()
    assert "cannot be reached (Network is unreachable): `ip link set lo up`" in last
