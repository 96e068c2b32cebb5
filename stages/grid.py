"""Stage 3: every missing point of every grid."""

from __future__ import annotations

from equigrid.orchestration.run_missing import RunContext, run_missing
from equigrid.planning.plan import Plan


def grid(plan: Plan, context: RunContext) -> int:
    """Train what the grids lack; returns how many trials ran."""
    return run_missing("grid", plan, context)
