"""A cluster that cannot serve a trial yet: it is waited for, and not in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import spaces

pytestmark = pytest.mark.cluster


def test_a_trial_that_fits_on_no_node_waits_for_one_and_says_so(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    spaces.write(
        tmp_path / "wide.yaml",
        rows={"CNN": spaces.space()["rows"]["CNN"]},
        resources={"cpu": 3},
        seeds={"grid": [0], "final": [0]},
    )
    before = dict(os.environ)
    # Where another test has started a Ray in this process, there is a token.
    token = {it: before[it] for it in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN") if it in before}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        process = spaces.start(
            "run", "wide.yaml", folder=tmp_path, environ={"RAY_ADDRESS": cluster.address} | token
        )
        try:
            assert process.stdout is not None
            said = ""
            while "waiting for one to join" not in said:
                line = process.stdout.readline()
                assert line, process.communicate()
                said += line
            assert "a trial wants cpu 3, and no node has that (cpu 1)" in said
            cluster.add_node(num_cpus=3)
            output, errors = process.communicate(timeout=spaces.PATIENCE)
            assert process.returncode == 0, output + errors
            assert "1/1 finished" in output
        finally:
            spaces.end_session(process)
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)
