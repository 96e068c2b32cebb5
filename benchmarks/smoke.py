"""SMOKE's simulation: all flows in one batch against one flow after the other.

The flows are those of table 6, k = 1, 2, …; how long they take hardly depends on which they are.
`--alone` says how many of them to simulate one by one, 0 for none. Imports and a first short
simulation are not counted. The peak of memory is the process's, imports and frames included.

    python benchmarks/smoke.py [--flows 4] [--grid 32] [--steps 40] [--alone 2] [--json FILE]
    python benchmarks/smoke.py --flows 36 --grid 64 --steps 310 --alone 0   # table 6's, in full
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
from common import Report, begin, quiet, timed
from numpy.typing import NDArray

from equigrid.datasets.smoke.builder import BUOYANCY, INFLOWS
from equigrid.datasets.smoke.simulation import Flow, simulate


def flow(k: int) -> Flow:
    x, y = BUOYANCY[(k - 1) % 4]
    return Flow(INFLOWS[(k - 1) % 4], (k * x, k * y))


def peak() -> float:
    """Bytes resident at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def measure(
    report: Report,
    name: str,
    run: Callable[[list[Flow]], NDArray[np.float32]],
    *batches: list[Flow],
) -> None:
    sizes: list[int] = []
    seconds = timed(lambda: sizes.extend(run(batch).nbytes for batch in batches))
    flows = sum(len(batch) for batch in batches)
    report.show(f"{name}: a flow", seconds.wall / flows, "s", flows)
    report.show(f"{name}: a flow, CPU time", seconds.cpu / flows, "s", flows)
    report.show(f"{name}: frames", sum(sizes) / seconds.wall / 1e6, "MB/s", flows)
    report.show(f"{name}: peak memory so far", peak() / 1e9, "GB", 1)


def main() -> None:
    report, options = begin(__doc__, flows=4, grid=32, steps=40, alone=2)
    at_size = partial(simulate, grid=options.grid, placement="centres", progress=quiet)
    run = partial(at_size, steps=options.steps)
    flows = [flow(k) for k in range(1, options.flows + 1)]
    at_size(flows[:1], steps=2)
    report.show("imports and a first simulation: peak memory", peak() / 1e9, "GB", 1)
    measure(report, f"{len(flows)} in a batch", run, flows)
    if options.alone:
        measure(report, "one by one", run, *([each] for each in flows[: options.alone]))
    report.close()


if __name__ == "__main__":
    main()
