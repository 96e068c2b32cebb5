"""Stage 5: results → the table, in every format."""

from __future__ import annotations

from pipeline.files import write_atomically
from pipeline.planning.plan import Plan
from pipeline.planning.workspace import Workspace
from pipeline.reporting import csv_files, formats
from pipeline.reporting.assembly import assemble
from pipeline.reporting.table import Table


def tables(plan: Plan, workspace: Workspace) -> Table:
    """Write table.md, .csv and .tex, comparisons.csv and grid.csv; a file that is right stays."""
    experiment = plan.experiment
    workspace.take_name(experiment.full_name, experiment.folder, experiment.origin)
    table = assemble(plan)
    grid = [(t, plan.results.get(t.key)) for trials in plan.grid.values() for t in trials]
    contents = {
        "table.md": formats.markdown(table),
        "table.csv": csv_files.comma_separated(table),
        "table.tex": formats.latex(table),
        "comparisons.csv": csv_files.comparison_csv(table),
        "grid.csv": csv_files.grid_csv(plan.experiment.space.training.select, grid),
    }
    for name, content in contents.items():
        path = workspace.tables(plan.experiment.full_name) / name
        if not path.exists() or path.read_text("utf-8") != content:
            write_atomically(path, content)
    return table
