"""Stage 3: every missing point of every grid."""

from __future__ import annotations

from pipeline.orchestration.plan import Plan
from stages.trials import Crew, run_missing


def grid(plan: Plan, crew: Crew) -> int:
    """Train what the grids lack; returns how many trials ran."""
    return run_missing("grid", plan, crew)
