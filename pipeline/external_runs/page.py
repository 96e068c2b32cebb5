"""The report of a table of tracked runs: any table's page, without what only training knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from equigrid.external_runs.cells import point_of
from equigrid.external_runs.collection import Collection
from equigrid.external_runs.identity import Arm, Entry
from equigrid.external_runs.opened import RunsTable
from equigrid.external_runs.source import by_step, is_finite
from equigrid.files import write_atomically
from equigrid.reporting.page import captions, charts, page
from equigrid.reporting.page.charts import GridPoint
from equigrid.reporting.page.dots import forest_section, seeds_section
from equigrid.reporting.page.gallery import Gallery, section
from equigrid.reporting.page.page import Chart, Content, Run, Section
from equigrid.reporting.words import spoken


def report(table: RunsTable, folder: Path) -> list[Path]:
    """Write `index.html` and `figures/*.pdf`; returns their paths, the page first."""
    found, gallery = table.collection, Gallery()
    select = table.space.runs.select
    content = Content(
        table=table.assembled,
        select=select.metric if select is not None else "",
        arms=tuple(_arms(table, gallery)),
        seeds=seeds_section(table.assembled, gallery),
        differences=forest_section(table.assembled, gallery),
        curves=_curves(table, gallery),
        equivariance=Section(),
        parameters=Section(),
        further=(),
        samples=Section(),
        facts=(
            ("Runs", f"{len(found.entries)} of {found.source}"),
            *((fate, _ids(entries)) for fate, entries in found.fates().items()),
        ),
        environments=(),
        commands=tuple(f"equigrid {it} {_name(table)}" for it in ("tables", "verify", "report")),
    )
    files = {"index.html": page.render(content).encode()}
    files |= {f"figures/{name}.pdf": drawn for name, drawn in gallery.pdfs.items()}
    for name, data in files.items():
        write_atomically(folder / name, data)
    return [folder / name for name in files]


def _ids(entries: Sequence[Entry]) -> str:
    """How many, and those that stand in no group above."""
    alone = [entry.run.id for entry in entries if entry.arm is None]
    return f"{len(entries)} runs" + (f": {', '.join(alone)}" if alone else "")


def _name(table: RunsTable) -> str:
    return table.file.name if table.file is not None else table.name


def _arms(table: RunsTable, gallery: Gallery) -> Iterator[page.ArmSection]:
    found = table.collection
    by_arm: dict[Arm, list[Entry]] = {}
    for entry in found.entries:
        if entry.arm is not None:
            by_arm.setdefault(entry.arm, []).append(entry)
    for arm in found.arms():
        row, dataset = arm
        columns = [n for n, it in table.space.columns.items() if (it.dataset or "") == dataset]
        if not columns:
            continue
        cells = found.finals.get(arm, {})
        finals = [_run(entry, entry.cells) for _, entry in sorted(cells.items())]
        tested = {entry.run.id for entry in cells.values()}
        select = table.space.runs.select
        others = [
            _run(entry, {spoken(select.metric): entry.score}
                 if select is not None and entry.score is not None else {})
            for entry in by_arm.get(arm, [])
            if entry.run.id not in tested
        ]  # fmt: skip
        yield page.ArmSection(
            row=found.label(row),
            dataset=dataset,
            columns=tuple(columns),
            gap=table.assembled.cells[found.label(row), columns[0]].gap,
            selection=_selection(table, arm),
            heat_map=_heat_map(table, arm, gallery),
            grid=tuple(others),
            finals=tuple(finals),
            show=tuple(f'equigrid show {_name(table)} "{found.label(row)}/{it}"' for it in columns),
        )


def _run(entry: Entry, scores: dict[str, float]) -> Run:
    return Run(
        point=point_of(entry.point),
        seed=-1 if entry.seed is None else entry.seed,
        key=entry.run.id,
        state="finished" if entry.run.status == "FINISHED" else "failed",
        scores=scores,
        run_id=entry.run.id,
        became=entry.fate,
        url=entry.run.url,
    )


def _selection(table: RunsTable, arm: Arm) -> str:
    choice, select = table.collection.choices[arm], table.space.runs.select
    if choice.point is None:
        return "Nothing selected: no point has a score of all its seeds."
    if choice.score is None or select is None:
        return f"{point_of(choice.point)}: the only point." if choice.point else "Nothing searched."
    whole = sum(it.score is not None for it in choice.candidates)
    return (
        f"Selected {point_of(choice.point)}: the {'highest' if select.mode == 'max' else 'lowest'} "
        f"mean {select.metric}, {choice.score:.4f}, of {whole} points."
    )


def _heat_map(table: RunsTable, arm: Arm, gallery: Gallery) -> Chart | None:
    """None where there are not two points, or values that are no numbers."""
    choice, select = table.collection.choices[arm], table.space.runs.select
    points = []
    for candidate in choice.candidates:
        values = {name: it for name, it in candidate.point if not isinstance(it, str)}
        if len(values) < len(candidate.point):
            return None
        state: charts.State = "finished" if candidate.is_whole else "missing"
        points.append(
            GridPoint(values, candidate.score, state, selected=candidate.point == choice.point)
        )
    if len(points) < 2 or select is None:
        return None
    figure = charts.heat_map(points, select.metric, higher_is_better=select.mode == "max")
    caption = f"Mean over seeds; brighter is better; {charts.SELECTED} selected."
    description = captions.heat_map(points, select.metric)
    return gallery.chart(figure, "", caption, description, "heat map", *filter(None, arm))


def _curves(table: RunsTable, gallery: Gallery) -> Section:
    select, found = table.space.runs.select, table.collection
    if select is None:
        return Section(missing=("Nothing selects, so there is no validation curve.",))
    tested = [entry for finals in found.finals.values() for entry in finals.values()]
    logged = table.source.curves([(entry.run, select.metric) for entry in tested])

    def drawn(dataset: str) -> Chart | str:
        histories = {
            found.label(row): curves
            for row in found.rows
            if (curves := _sound_curves(found, (row, dataset), select.metric, logged))
        }
        if not histories:
            return f"no curve of {select.metric}"
        figure = charts.curves(table.assembled.rows, histories, select.metric, "logged value")
        caption = "Runs in cells: mean over the seeds, and the band between the extremes."
        description = captions.curves(histories, select.metric, "logged value")
        return gallery.chart(figure, dataset, caption, description, "curves", dataset or "all")

    return section(dict.fromkeys(dataset for _, dataset in found.arms()), drawn)


def _sound_curves(found: Collection, arm: Arm, metric: str, logged: object) -> list[list[float]]:
    assert isinstance(logged, dict)
    curves = []
    for _, entry in sorted(found.finals.get(arm, {}).items()):
        values = by_step(logged.get((entry.run.id, metric), ())).values()
        if sound := [value for value in values if is_finite(value)]:
            curves.append(sound)
    return curves
