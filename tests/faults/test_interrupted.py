"""Ctrl-C while Ray trains, once and twice; SIGTERM; SIGSTOP; nothing is left running."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import spaces
from driving import Driver, Drivers, begun, in_flight

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),  # alone 3 minutes; beside four others on two slow cores 10
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's /proc"),
]

ROWS = {
    "CNN": {
        "model": {"paced:Paced": {"width": 4, "latent": 8}},
        "objective": "augmented",
        "grid": {"lr": [0.003, 0.01]},
    }
}
#: Three steps an epoch: with PACE at 0.1 s a training lasts 12 s.
TRAINING = {"epochs": 40, "batch_size": 20, "patience": 40}


@pytest.fixture
def rays_folder() -> Iterator[Path]:
    """Where Ray keeps its sockets (hence the short name); it still names a cluster that is gone."""
    folder = Path(tempfile.mkdtemp(prefix="eqg"))
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    yield folder
    shutil.rmtree(folder)


#: Seconds after which what is left of a driver is taken to stay.
EVERYTHING = 120.0


def interrupt(driver: Driver) -> None:
    """Ctrl-C; returns when it was heard."""
    driver.process.send_signal(signal.SIGINT)
    assert driver.until(lambda: "equigrid: ending" in driver.output.read_text())


def test_it_ends_leaves_nothing_running_and_goes_on_where_it_was(
    tmp_path: Path, rays_folder: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copy(Path(spaces.__file__).with_name("paced.py"), tmp_path)
    file = spaces.write(
        tmp_path / "tiny.yaml", rows=ROWS, training=TRAINING, seeds={"grid": [0], "final": [0]}
    )

    with Drivers() as drivers:

        def start() -> Driver:
            environ = {"RAY_TMPDIR": str(rays_folder), "PACE": "0.1"}
            driver = drivers.start(file.name, tmp_path, workspace, environ=environ)
            assert driver.until(lambda: begun(workspace))
            return driver

        once = start()
        interrupt(once)
        assert once.ends(60), "Ctrl-C was heard and nothing ended"
        said = once.output.read_text()
        assert once.process.returncode == 130, said
        assert said.rstrip().endswith("equigrid: interrupted; run the same command again to go on")
        assert "Traceback" not in said
        # What was under way has its checkpoint, or the one before it, and nobody holds it.
        kept = [path.parent.name for path in (workspace / "running").glob("*/checkpoint*")]
        assert kept
        assert in_flight(workspace) == {}

        terminated = start()
        terminated.process.send_signal(signal.SIGTERM)
        assert terminated.ends(60), "SIGTERM, and nothing ended"
        assert terminated.process.returncode == 143, terminated.output.read_text()
        assert in_flight(workspace) == {}

        twice = start()
        interrupt(twice)
        second = time.monotonic()
        twice.process.send_signal(signal.SIGINT)
        assert twice.ends(2), "the second Ctrl-C does not end it within two seconds"
        print(f"ended {time.monotonic() - second:.2f} s after the second Ctrl-C")
        assert twice.process.returncode == 130

        # A lid that is closed, Slurm's suspend: all of it stands still, and goes on.
        suspended = start()
        everything = suspended.processes()
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in everything:
                os.kill(process, number)
            time.sleep(5 if number == signal.SIGSTOP else 0)
        suspended.finish()
        assert drivers.orphans(EVERYTHING) == []

    undisturbed = tmp_path / "undisturbed"
    spaces.forked("run", file.name, "--in-process", "--workspace", undisturbed, folder=tmp_path)
    assert spaces.tables(workspace) == spaces.tables(undisturbed)
