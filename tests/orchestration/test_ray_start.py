"""Ray's start on a machine that is full of other work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

#: Real processes of Ray, of which the first sets are taken to be late: Ray waits 30 s for each.
SLOW = """
import sys
from pathlib import Path
from equigrid.orchestration.ray_start import start_ray  # before Ray: it sets what Ray reads
import ray
from ray._private import services

late, get_node = int(sys.argv[1]), services.get_node

def looked_for(*arguments, **options):
    global late
    if late:
        late -= 1
        raise Exception("The current node timed out during startup. This could happen because …")
    return get_node(*arguments, **options)

services.get_node = looked_for
try:
    start_ray()
except TimeoutError as error:
    print(error)
else:
    print(ray.get(ray.remote(lambda: 6 * 7).remote()), len(ray.nodes()))
"""


def _started(late: int, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: it for name, it in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-c", SLOW, str(late)], capture_output=True, text=True,
        timeout=300, env=environment, cwd=folder,
    )  # fmt: skip


def test_it_is_tried_again_where_ray_gives_up(tmp_path: Path) -> None:
    done = _started(1, tmp_path)
    assert done.stdout.split() == ["42", "1"], done.stderr
    assert done.stderr.count("once more") == 1


def test_in_the_end_one_line_says_so(tmp_path: Path) -> None:
    done = _started(3, tmp_path)
    (line,) = done.stdout.splitlines()
    assert line.startswith("Ray did not start on this machine in 3 attempts")
    assert "--in-process" in line
