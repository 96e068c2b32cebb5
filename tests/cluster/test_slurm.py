"""Debian's Slurm on hosts of one machine: a job that is ended, and one that is queued again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hosts
import longer
import pytest
import spaces

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PATIENCE = 400.0
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")


class Slurm:
    """A controller on a host of its own and two nodes, all with one shared disk."""

    def __init__(self, base: Path, found: dict[str, hosts.Host]) -> None:
        self.base, self.hosts = base, found
        socket = base / "munge.socket"
        cores = os.cpu_count() or 1
        nodes = "\n".join(
            f"NodeName={name} NodeAddr={found[name].address} CPUs={cores}"
            for name in ("one", "two")
        )
        (base / "slurm.conf").write_text(
            f"""ClusterName=equigrid
SlurmctldHost=control({found["control"].address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={socket}
CredType=cred/munge
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool-%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
JobRequeue=1
{nodes}
PartitionName=all Nodes=one,two Default=YES State=UP
"""
        )
        # Nothing here uses a control group; to look for them is refused inside a namespace.
        (base / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (base / "state").mkdir()
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(base), "SLURM_CONF": str(base / "slurm.conf"), "no_proxy": "*",
            "RAY_OBJECT_STORE_MEMORY": "100000000", "PACE": "0.05",
        }  # fmt: skip
        key = base / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.start("control", "munged", "--foreground", "--force", f"--socket={socket}",
                   f"--key-file={key}", f"--pid-file={base}/munged.pid",
                   f"--seed-file={base}/munge.seed", f"--log-file={base}/munged.log")  # fmt: skip
        self.until(socket.exists, "munge")
        self.start("control", "slurmctld", "-D")
        for name in ("one", "two"):
            self.start(name, "slurmd", "-D", "-N", name)
        self.until(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D") == "2", "the nodes")

    def start(self, host: str, program: str, *options: str) -> None:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path is not None
        self.hosts[host].start([path, *options], self.environment)

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return done.stdout.strip()

    def until(self, ready: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        files = [*self.base.glob("*.log"), *self.base.glob("*.out")]
        return "\n".join(f"== {it.name}\n{it.read_text()[-3000:]}" for it in files)

    def submit(self, *arguments: str, **settings: str) -> str:
        command = ("sbatch", "--parsable", "--nodes=2", "--cpus-per-task=1", "--time=20",
                   f"--output={self.base}/%j.out", "docker/slurm.sbatch", *arguments)  # fmt: skip
        done = subprocess.run(
            command, env={**self.environment, **settings}, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Such as `RUNNING 0:0`; the code is that of the batch script."""
        shown = self.ask("scontrol", "show", "job", job, "-o")
        fields = dict(part.split("=", 1) for part in shown.split() if "=" in part)
        return f"{fields.get('JobState', '')} {fields.get('ExitCode', '')}"


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    if reason := hosts.why_not():
        pytest.skip(reason)
    for program in PROGRAMS:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    with hosts.network({"control": False, "one": False, "two": False}) as found:
        yield Slurm(found["control"].base, found)


def test_a_job_that_is_ended_and_one_that_is_queued_again_finish_the_table(
    slurm: Slurm, tmp_path: Path
) -> None:
    space = longer.write(tmp_path / "longer.yaml")
    spaces.forked("run", space, "--in-process", folder=tmp_path)
    expected = spaces.tables(tmp_path / "workspace", "longer")

    shared = slurm.base / "workspace"
    settings = {"EQUIGRID_WORKSPACE": str(shared)}

    def finished() -> int:
        return len(list((shared / "records").glob("*.json")))

    # As two minutes before its time limit: the batch script alone gets the signal.
    first = slurm.submit(str(space), **settings)
    slurm.until(lambda: finished() >= 2, "two trainings")
    slurm.ask("scancel", "--signal=TERM", "--batch", first)
    slurm.until(lambda: slurm.state(first).startswith("FAILED"), "the end of the job")
    assert slurm.state(first) == "FAILED 143:0"
    output = (slurm.base / f"{first}.out").read_text()
    assert "interrupted" in output
    kept = finished()
    assert kept < 11
    assert not list((shared / "tables").glob("longer/*")) or "table.md" not in output

    # The same line again; in the middle of it the job is taken from its nodes and queued again.
    second = slurm.submit(str(space), **settings)
    slurm.until(lambda: finished() >= kept + 2, "two further trainings")
    slurm.ask("scontrol", "requeue", second)
    slurm.until(lambda: "Restarts=1" in slurm.ask("scontrol", "show", "job", second), "a restart")
    slurm.until(lambda: slurm.state(second).startswith(("COMPLETED", "FAILED")), "the job's end")
    assert slurm.state(second) == "COMPLETED 0:0", slurm.logs()
    assert spaces.tables(shared, "longer") == expected
    assert finished() == len(list((tmp_path / "workspace" / "records").glob("*.json")))
    print(f"records when the first job was ended: {kept}")
