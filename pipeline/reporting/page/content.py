"""The report of a table: one HTML page and its figures as PDF. Reads records, trains nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from equigrid.files import canonical_json, sha256, write_atomically
from equigrid.own_parts.imports import is_external
from equigrid.planning.plan import Arm, Plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.reporting.formats import markdown
from equigrid.reporting.page import page
from equigrid.reporting.page.carried import carried_section
from equigrid.reporting.page.dots import forest_section, seeds_section
from equigrid.reporting.page.figures import ERROR, Figures, state_of
from equigrid.reporting.page.page import Content, Further, Run, Section
from equigrid.reporting.table import Cell, Table
from equigrid.reporting.verdicts import ALPHA
from equigrid.reporting.words import hyperparameter, spoken
from equigrid.trial import Trial
from equigrid.version import __version__


def report(plan: Plan, table: Table, workspace: Workspace, folder: Path) -> list[Path]:
    """Write `index.html` and `figures/*.pdf` into a folder; returns their paths, the page first.

    What is not there (runs, records, data) is said on the page. The same records give the same
    bytes.
    """
    found = {trial.key: workspace.record(trial.key) for trial in plan.all_trials()}
    records = {key: record for key, record in found.items() if record is not None}
    figures = Figures(plan, table, records, workspace)
    content = Content(
        table=table,
        select=plan.experiment.space.training.select,
        arms=tuple(_arms(plan, table, records, figures, run_pages(workspace.tracking_uri))),
        seeds=Section() if table.layout == "runs" else seeds_section(table, figures),
        differences=forest_section(table, figures),
        curves=figures.curves(),
        equivariance=figures.score_by_error(),
        parameters=figures.score_by_parameters(),
        further=tuple(_further(figures)),
        samples=figures.orbits(),
        facts=tuple(_facts(plan, table)),
        environments=_environments(records),
        commands=_commands(plan),
    )
    files = {"index.html": page.render(content).encode()}
    files |= {f"figures/{name}.pdf": drawn for name, drawn in figures.pdfs.items()}
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def _further(figures: Figures) -> Iterator[Further]:
    rollouts = figures.rollouts()
    if rollouts.charts or rollouts.missing:
        yield Further("rollouts", "Roll-outs", rollouts)
    latents = carried_section(figures)
    if latents.charts or latents.missing:
        yield Further("latents", "What the latent carries", latents)
    for n, (title, section) in enumerate(figures.of_parts()):
        yield Further(f"objective-{n}", title, section)


def current_report(plan: Plan, table: Table, workspace: Workspace) -> None:
    """The report in the workspace, written anew only when its results or runs have changed."""
    folder = workspace.report(plan.experiment.full_name)
    mark = folder / ".inputs"
    runs = plan.tracked.runs.values() if plan.tracked else ()
    inputs = {
        "equigrid": __version__,
        "results": {key: asdict(result) for key, result in plan.results.items()},
        "runs": sorted(run.run_id for run in runs),
        "table": markdown(table),
        "pages": run_pages(workspace.tracking_uri),
        "analyses": {key: workspace.analysis(key) for key in sorted(plan.results)},
    }
    digest = sha256(canonical_json(inputs).encode())
    known = mark.read_text("utf-8") if mark.exists() else ""
    if known != digest or not (folder / "index.html").exists():
        report(plan, table, workspace, folder)
        write_atomically(mark, digest)


def run_pages(uri: str) -> str:
    """What the address of a run's page begins with; empty where no server has one.

    Without the name and password that an address may have: the page goes to other people.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/#/runs/"


def _arms(
    plan: Plan, table: Table, records: Mapping[str, Record], figures: Figures, pages: str
) -> Iterator[page.ArmSection]:
    select = plan.experiment.space.training.select
    for arm in plan.experiment.arms():
        row, dataset = arm
        cells = {
            column: table.cells[row, column]
            for column in table.columns
            if table.cells[row, column].dataset == dataset
        }
        grid = [
            _run(plan, trial, records, {spoken(select): plan.results[trial.key].validation[select]}
                 if plan.is_finished(trial) else {}, pages)
            for trial in plan.grid.get(arm, ())
        ]  # fmt: skip
        finals = [
            _run(plan, trial, records, _tests(plan, trial, cells), pages)
            for trial in plan.finals.get(arm, ())
        ]
        yield page.ArmSection(
            row=row,
            dataset=dataset,
            columns=tuple(cells),
            gap=plan.why_not(dataset) or next(iter(cells.values())).gap,
            selection=_selection(plan, arm),
            heat_map=figures.heat_map(arm),
            grid=tuple(grid),
            finals=tuple(finals),
            show=tuple(f'equigrid show {_name(plan)} "{row}/{column}"' for column in cells),
        )


def _tests(plan: Plan, trial: Trial, cells: Mapping[str, Cell]) -> dict[str, float]:
    """By column, what a final scored."""
    result = plan.results.get(trial.key)
    scores = {
        column: result.score(cell.split, cell.metric) if result else None
        for column, cell in cells.items()
    }
    return {column: score for column, score in scores.items() if score is not None}


def _run(
    plan: Plan, trial: Trial, records: Mapping[str, Record], scores: Mapping[str, float], pages: str
) -> Run:
    """What is known of a trial: from its record, else from what MLflow holds of it."""
    result, record = plan.results.get(trial.key), records.get(trial.key)
    tracked = plan.tracked.run(trial) if plan.tracked else None
    return Run(
        point=trial.point(),
        seed=trial.seed,
        key=trial.key,
        state=state_of(plan, [trial]),
        scores=scores,
        error=result.validation.get(ERROR) if result else None,
        reason=plan.failures[trial.key] if plan.is_failed(trial) else "",
        doubt=plan.doubt(trial),
        run_id=tracked.run_id if tracked else "",
        url=f"{pages}{tracked.run_id}" if tracked and pages else "",
        data_sha256=result.data_sha256 if result else "",
        commit=record.environment["git_commit"] if record else "",
        hardware=result.device if result else "",
    )


def _selection(plan: Plan, arm: Arm) -> str:
    row, dataset = arm
    if plan.experiment.rows[row].trivial:
        return "Not trained: nothing to select."
    if dataset in plan.gaps:
        return "Nothing selected: there is no data."
    if arm in plan.unselected:
        return "Nothing selected yet: the grid is not finished."
    chosen = plan.selections[arm]
    if chosen is None:
        return "Nothing selected: no grid point has a score."
    point = plan.finals[arm][0].point()
    select = spoken(plan.experiment.space.training.select)
    if chosen.candidates + chosen.failed == 1:
        return f"{point}: the grid's only point, {select} {chosen.score:.4f}."
    failed = f"; {chosen.failed} without a score" if chosen.failed else ""
    return (
        f"Selected {point}: the best {select}, {chosen.score:.4f}, of {chosen.candidates} grid "
        f"points{failed}."
    )


def _facts(plan: Plan, table: Table) -> Iterator[tuple[str, str]]:
    experiment, space = plan.experiment, plan.experiment.space
    profile = f", profile {experiment.profile}" if experiment.profile else ", no profile"
    yield "Search space", f"{experiment.name}{profile}"
    settings = {name: it for name, it in space.training.settings().items() if name != "trend"}
    if trend := space.training.trend:
        settings["trend"] = f"over {trend.window} epochs, after epoch {trend.after}"
    yield "Training", ", ".join(f"{name} {it}" for name, it in settings.items())
    for role, seeds in (("grid", space.seeds.grid), ("finals", space.seeds.final)):
        yield f"Seeds of the {role}", ", ".join(map(str, seeds))
    rows = experiment.rows.values()
    own = [name for row in rows for name in row.own]  # first in every row that has them
    searched = dict.fromkeys([*own, *(name for row in rows for name in row.ties)])
    ties = ", then to the lower ".join(map(hyperparameter, searched))
    yield (
        "Selection",
        f"Per method and dataset the grid point with the best {spoken(space.training.select)}, "
        f"mean over the grid's seeds; ties go to the lower {ties}. Test scores play no part.",
    )
    yield "Verdicts", _verdict_rule(plan, table)
    yield (
        "Relative equivariance error",
        "Σ‖ρ(g)E(x) − E(gx)‖² / Σ‖E(gx) − mean‖² on validation, g fixed for each sample: ρ is the "
        "group's regular representation, E the encoder. Beside it the same with mean latents "
        "removed first, with the identity for ρ (how far latents move at all), and the share of "
        "the latents' variance that every ρ(g) fixes (1 of an invariant latent)."
        + (
            " An objective from outside the package may supply a ρ of its own."
            if any(is_external(row.objective["name"]) for row in experiment.rows.values())
            else ""
        ),
    )
    for name, dataset in experiment.datasets.items():
        hashes = sorted({
            plan.results[trial.key].data_sha256
            for trial in plan.all_trials()
            if trial.dataset == name and trial.key in plan.results
        })  # fmt: skip
        known = f"SHA-256 {', '.join(hashes)}" if hashes else plan.why_not(name) or "no run yet"
        yield f"Data of {name}", f"{dataset.builder_name}, group {dataset.group_name}; {known}"


def _verdict_rule(plan: Plan, table: Table) -> str:
    if not table.has_published:
        return "None: nothing is published to compare with."
    if not plan.experiment.is_published_setting:
        return "None: this profile is not the published setting."
    if not plan.experiment.has_verdicts:
        return "None: the data are not the published ones."
    return (
        "agrees: two one-sided Welch tests put the difference within the margin; above, below: "
        "Welch's test finds a difference; undecided: neither. p-values are adjusted by Holm over "
        f"the whole table and compared with {ALPHA:g}. Cells that are not whole have none."
    )


def _environments(records: Mapping[str, Record]) -> tuple[tuple[Mapping[str, str], int], ...]:
    """Distinct ones, the most frequent first."""
    counted = Counter(tuple(sorted(record.environment.items())) for record in records.values())
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return tuple((dict(found), count) for found, count in ranked)


def _name(plan: Plan) -> str:
    """The experiment as commands take it; a file of one's own goes by its name with suffix."""
    experiment = plan.experiment
    name = experiment.name
    if experiment.folder.name != "search_spaces":
        name += ".yaml"
    return f"{name} --profile {experiment.profile}" if experiment.profile else name


def _commands(plan: Plan) -> tuple[str, ...]:
    name = _name(plan)
    return f"equigrid run {name}", f"equigrid verify {name}", f"equigrid report {name} -o report"
