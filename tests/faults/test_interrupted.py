"""Ctrl-C while Ray trains: once ends in order, twice ends now, and nothing is left running."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import spaces
from driving import Driver, Drivers, begun, in_flight

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's /proc"),
]

ROWS = {
    "CNN": {
        "model": {"small_cnn": {"width": 4, "latent": 8}},
        "objective": "augmented",
        "grid": {"lr": [0.003, 0.01]},
    }
}
TRAINING = {"epochs": 400, "batch_size": 8, "patience": 400}
#: Seconds after which what is left of a driver is taken to stay.
EVERYTHING = 120.0


def interrupt(driver: Driver) -> None:
    """Ctrl-C; returns when it was heard."""
    driver.process.send_signal(signal.SIGINT)
    assert driver.until(lambda: "equigrid: ending" in driver.output.read_text())


def test_it_ends_leaves_nothing_running_and_goes_on_where_it_was(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    file = spaces.write(
        tmp_path / "tiny.yaml", rows=ROWS, training=TRAINING, seeds={"grid": [0], "final": [0]}
    )

    with Drivers() as drivers:

        def start() -> Driver:
            driver = drivers.start(file.name, tmp_path, workspace)
            assert driver.until(lambda: begun(workspace))
            return driver

        once = start()
        interrupt(once)
        assert once.ends(60), "Ctrl-C was heard and nothing ended"
        said = once.output.read_text()
        assert once.process.returncode == 130, said
        assert said.rstrip().endswith("equigrid: interrupted; run the same command again to go on")
        assert "Traceback" not in said
        # What was under way has its checkpoint, and nobody holds it.
        kept = [path.parent.name for path in (workspace / "running").glob("*/checkpoint")]
        assert kept
        assert in_flight(workspace) == {}

        twice = start()
        interrupt(twice)
        second = time.monotonic()
        twice.process.send_signal(signal.SIGINT)
        assert twice.ends(2), "the second Ctrl-C does not end it within two seconds"
        print(f"ended {time.monotonic() - second:.2f} s after the second Ctrl-C")
        assert twice.process.returncode == 130

        start().finish()
        assert drivers.orphans(EVERYTHING) == []

    undisturbed = tmp_path / "undisturbed"
    spaces.equigrid("run", file.name, "--in-process", "--workspace", undisturbed, folder=tmp_path)
    assert spaces.tables(workspace) == spaces.tables(undisturbed)
