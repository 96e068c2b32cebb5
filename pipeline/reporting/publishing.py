"""A finished table and its report become artifacts in MLflow, its means metrics of parent runs."""

from __future__ import annotations

from pathlib import Path

from equigrid.files import sha256
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.reporting.assembly import selection_text
from equigrid.reporting.formats import markdown, score
from equigrid.reporting.table import Table
from equigrid.tracking.writer import Writer
from equigrid.trial import in_order


def publish(plan: Plan, table: Table, workspace: Workspace, writer: Writer) -> None:
    """Queue the files of the table and of the report, and what came of each row and dataset."""
    name = plan.experiment.full_name
    files: dict[str, Path] = {}
    for folder, below in ((workspace.tables(name), ""), (workspace.report(name), "report/")):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                files[below + path.relative_to(folder).as_posix()] = path
    digest = sha256("".join(f"{at} {sha256(p.read_bytes())}\n" for at, p in files.items()).encode())
    writer.table({"table": table.name}, files, digest, markdown(table), _columns(plan, table))
    for arm in plan.finals:
        if not plan.experiment.rows[arm[0]].trivial:
            _summarise(plan, table, arm, workspace, writer)


def _columns(plan: Plan, table: Table) -> list[str]:
    """What a list of runs shows of each: test scores, what selects, what was searched."""
    tests = dict.fromkeys(f"test/{it.split}/{it.metric}" for it in table.cells.values())
    points = [trial.hyperparameters for trials in plan.grid.values() for trial in trials]
    searched = in_order({name for point in points for name in point})
    metrics = [*tests, f"best_{plan.experiment.space.training.select}"]
    return [*(f"metrics.`{it}`" for it in metrics), *(f"params.`{it}`" for it in searched)]


def _summarise(plan: Plan, table: Table, arm: Arm, workspace: Workspace, writer: Writer) -> None:
    """Tell the parent run of a row and dataset what came of it."""
    row, dataset = arm
    finals = [trial for trial in plan.finals[arm] if plan.is_finished(trial)]
    records = [record for trial in finals if (record := workspace.record(trial.key)) is not None]
    if not records:
        return
    cells = [cell for (r, _), cell in table.cells.items() if r == row and cell.dataset == dataset]
    means = {
        f"test/{cell.split}/{cell.metric}": cell.mean
        for cell in cells
        if cell.is_whole and cell.mean is not None
    }
    tags = {f"selected_{name}": f"{value:g}" for name, value in cells[0].point.items()}
    ended = max(record.started + sum(record.epoch_seconds) for record in records)
    columns = [name for (r, name), it in table.cells.items() if r == row and it.dataset == dataset]
    lines = [selection_text(plan, arm)]
    lines += [f"- {name}: {score(table.cells[row, name])}" for name in columns]
    writer.summary(arm, tags, means, len(records), ended, "\n".join(lines))
