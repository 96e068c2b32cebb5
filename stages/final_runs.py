"""Stage 4: the selected (lr, λ) over all seeds, tested once on the best-validation weights."""

from __future__ import annotations

from equigrid.orchestration.run_missing import RunContext, run_missing
from equigrid.planning.plan import Plan


def final_runs(plan: Plan, context: RunContext) -> int:
    """Train the missing finals; one that the grid trained already is only evaluated."""
    return run_missing("final", plan, context)
