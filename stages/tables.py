"""Stage 5: results → the table, in every format, and its report."""

from __future__ import annotations

from equigrid.errors import masked
from equigrid.files import write_atomically
from equigrid.own_parts.user_errors import in_one_line
from equigrid.planning.plan import Plan
from equigrid.planning.workspace import Workspace
from equigrid.reporting import csv_files, formats, latex
from equigrid.reporting.assembly import assemble
from equigrid.reporting.table import Table


def tables(plan: Plan, workspace: Workspace) -> Table:
    """Write table.md, .csv and .tex, comparisons and latents, grid.csv; a file that is right stays.

    Of what there is nothing of there is no file: paired differences, latents.
    """
    experiment = plan.experiment
    workspace.take_name(experiment.full_name, experiment.folder, experiment.origin)
    table = assemble(plan)
    grid = [(t, plan.results.get(t.key)) for trials in plan.grid.values() for t in trials]
    contents = {
        "table.md": formats.markdown(table),
        "table.csv": csv_files.comma_separated(table),
        "table.tex": latex.scores(table),
        "comparisons.tex": latex.comparisons(table),
        "latents.tex": latex.latents(table),
        "comparisons.csv": csv_files.comparison_csv(table),
        "grid.csv": csv_files.grid_csv(plan.experiment.space.training.select, grid),
    }
    for name, content in contents.items():
        path = workspace.tables(plan.experiment.full_name) / name
        if not content:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_text("utf-8") != content:
            write_atomically(path, content)
    return table


def report(plan: Plan, table: Table, workspace: Workspace) -> str:
    """Bring the workspace's report up to date; returns why it cannot be drawn, empty where it can.

    A table that is finished is not lost for its figures.
    """
    try:
        # Here: matplotlib takes half a second, for which trials would have waited.
        from equigrid.reporting.page.content import current_report

        current_report(plan, table, workspace)
    except Exception as error:  # noqa: BLE001 - an own part's drawing raises anything
        why = masked(in_one_line(error))
        return f"the report is not written, the table is: {why}; `equigrid report` tries again"
    return ""
