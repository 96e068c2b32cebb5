"""A table as lines of text, and as Markdown: the same cells, the same digits everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from equigrid.reporting.comparison import FEWEST_SEEDS, Comparison, Outcome
from equigrid.reporting.table import LATENT_MEASURES, Cell, Table

DASH = "–"
#: On a cell with a run whose tracking does not match its record.
DOUBT = "†"
#: Beside a paired difference, for what it shows of the first named row.
MARKS: Mapping[Outcome, str] = {
    "better": "▲", "worse": "▼", "higher": "△", "lower": "▽", "undecided": "○"
}  # fmt: skip


def score(cell: Cell) -> str:
    """`0.912 (0.004), n=5`; an incomplete one says what is missing first, † ends a doubtful one."""
    gap = one_line(cell.gap)
    mark = f" {DOUBT}" if cell.doubts else ""
    if cell.mean is None and not cell.wanted:
        return DASH
    if cell.mean is None:
        return f"{DASH} {gap or f'0/{cell.wanted} seeds'}{mark}"
    text = cell.style.value(cell.metric, cell.mean)
    if cell.wanted > 1 and cell.deviation is not None:
        text += f" ({cell.style.value(cell.metric, cell.deviation)})"
    if cell.is_whole:
        return f"{text}, n={len(cell.values)}{mark}"
    return f"[{gap or f'{len(cell.values)}/{cell.wanted} seeds'}] {text}{mark}"


def one_line(text: str) -> str:
    """An error's text may have several; a table's cell and a comment have one."""
    return " ".join(text.split())


def published(cell: Cell) -> str:
    """The published value with all its digits; `?` where its number of seeds is not known."""
    if cell.published is None:
        return DASH
    digits, style = cell.published.decimals, cell.style
    text = style.published(cell.metric, cell.published.mean, digits)
    if cell.published.std is None:
        return text
    unknown = "" if cell.published.seeds else " ?"
    return f"{text} ({style.published(cell.metric, cell.published.std, digits)}){unknown}"


def difference(table: Table, row: str, column: str) -> str:
    """`+0.003 agrees`: reproduced − published, and the verdict where there is one."""
    cell = table.cells[row, column]
    if cell.difference is None:
        return DASH
    verdict = table.verdicts.get((row, column))
    shown = cell.style.signed(cell.metric, cell.difference)
    return shown + (f" {verdict.word}" if verdict else "")


def parts(table: Table) -> list[tuple[str, Table]]:
    """Of layout `datasets` a heading and a table for each dataset; else the table itself."""
    if table.layout != "datasets":
        return [("", table)]
    columns: dict[str, list[str]] = {}
    for (_, column), cell in table.cells.items():
        if column not in columns.setdefault(cell.dataset, []):
            columns[cell.dataset].append(column)
    return [
        (
            dataset,
            replace(
                table,
                columns=tuple(names),
                comparisons=tuple(it for it in table.comparisons if it.column in names),
            ),
        )
        for dataset, names in columns.items()
    ]


def headings(table: Table) -> list[str]:
    headings = ["Method"] if table.external else ["Method", "Parameters"]
    if table.layout == "datasets":
        return [*headings, *short_names(table)]
    for column in table.columns:
        headings.append(column)
        if _column_is_published(table, column):
            headings += [f"{column} published", "difference"]
    return headings


def short_names(table: Table) -> Iterator[str]:
    """Columns without the name of their dataset before it, under whose heading they stand."""
    datasets = {column: cell.dataset for (_, column), cell in table.cells.items()}
    for column in table.columns:
        short = column.removeprefix(f"{datasets[column]} ")
        yield short if table.layout == "datasets" else column


def _column_is_published(table: Table, column: str) -> bool:
    return any(table.cells[row, column].published for row in table.rows)


def body(table: Table) -> Iterator[list[str]]:
    for row in table.rows:
        for seed, scores in table.run_lines(row):
            line = [f"{row}, seed {seed}", ""]
            for column in table.columns:
                line.append(_of_a_run(table, row, column, scores))
                line += ["", ""] if _column_is_published(table, column) else []
            yield line
        line = [table.label(row), *([] if table.external else [parameters(table, row)])]
        if table.layout == "datasets":
            yield from _one_above_the_other(table, row)
            continue
        for column in table.columns:
            cell = table.cells[row, column]
            line.append(score(cell))
            if _column_is_published(table, column):
                line += [published(cell), difference(table, row, column)]
        yield line
    yield from _published_lines(table)


def _of_a_run(table: Table, row: str, column: str, scores: Mapping[str, float]) -> str:
    cell = table.cells[row, column]
    return cell.style.value(cell.metric, scores[column]) if column in scores else DASH


def _one_above_the_other(table: Table, row: str) -> Iterator[list[str]]:
    """A row's scores, and below them the published ones with the difference."""
    cells = [table.cells[row, column] for column in table.columns]
    yield [table.label(row), parameters(table, row), *map(score, cells)]
    if any(cell.published for cell in cells):
        both = [
            DASH if cell.published is None
            else f"{published(cell)} ({difference(table, row, column)})"
            if cell.difference is not None else published(cell)
            for column, cell in zip(table.columns, cells, strict=True)
        ]  # fmt: skip
        yield ["published (difference)", "", *both]


def _published_lines(table: Table) -> Iterator[list[str]]:
    for n, run in enumerate(table.published_runs, 1):
        yield [
            f"Published, run {n}", "",
            *(f"{run[column]:g}" if column in run else DASH for column in table.columns),
        ]  # fmt: skip


def parameters(table: Table, row: str) -> str:
    """`34 329`; several where a row's networks differ between datasets."""
    known = {cell.parameters for (r, _), cell in table.cells.items() if r == row}
    counts = sorted(count for count in known if count is not None)
    return " / ".join(f"{count:,}".replace(",", " ") for count in counts) or DASH


def latents(table: Table) -> Iterator[list[list[str]]]:
    """Of each dataset a table of trained rows by the measures that any of them has."""
    for dataset, found in table.latent_measures().items():
        names = [name for name in LATENT_MEASURES if any(name in it for it in found.values())]
        lines = [[f"Latents, {dataset}", *(LATENT_MEASURES[name] for name in names)]]
        for row in table.rows:
            if row not in table.trivial_rows:
                means = found.get(row, {})
                shown = [f"{means[name]:.3g}" if name in means else DASH for name in names]
                lines.append([table.label(row), *shown])
        yield lines


def comparisons(table: Table) -> list[list[str]]:
    """The reference row against the others: one of them a line; empty without a pair."""
    lines = [["Paired difference, 95 % interval", *short_names(table)]]
    for minuend, subtrahend, found in table.paired(table.against_reference()):
        lines.append([f"{minuend} − {subtrahend}", *(marked(table, it) for it in found)])
    return lines if len(lines) > 1 else []


def marked(table: Table, comparison: Comparison | None) -> str:
    """`+0.012 [+0.004, +0.020], n=5 ▲`: an interval, and what it shows of the first named row."""
    found = table.outcomes.get(comparison.place) if comparison else None
    return interval(comparison) + (f" {MARKS[found.word]}" if found else "")


def marks_of(table: Table) -> list[Outcome]:
    """Those that a table may need: `better` and `worse` only where some column has them."""
    directions = {table.higher_is_better[column] for column in table.columns}
    decided: list[Outcome] = ["better", "worse"] if directions - {None} else []
    if None in directions:
        decided += ["higher", "lower"]
    return [*decided, "undecided"]


def interval(comparison: Comparison | None) -> str:
    """`+0.012 [+0.004, +0.020], n=5`; missing seeds first; of too few why there is no interval."""
    if comparison is None:
        return DASH
    metric, signed = comparison.metric, comparison.style.signed
    text = signed(metric, comparison.mean)
    if comparison.low is not None and comparison.high is not None:
        ends = (signed(metric, it) for it in (comparison.low, comparison.high))
        text += f" [{', '.join(ends)}]"
    reason = f" (no interval below {FEWEST_SEEDS})" if comparison.half_width is None else ""
    if comparison.n < comparison.wanted:
        return f"[{comparison.n}/{comparison.wanted} seeds] {text}{reason}"
    return f"{text}, n={comparison.n}{reason}"


def _markdown_lines(lines: list[list[str]]) -> Iterator[str]:
    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    yield row(lines[0])
    yield "|" + "---|" * len(lines[0])
    yield from map(row, lines[1:])


def in_full(table: Table) -> Iterator[tuple[str, list[list[str]]]]:
    """Scores, paired differences and latents: a heading, often empty, and lines with their head."""
    for heading, part in parts(table):
        yield heading, [headings(part), *body(part)]
        if found := comparisons(part):
            yield "", found
    for found in latents(table):
        yield "", found


def markdown(table: Table) -> str:
    lines = [f"# {table.title}", ""]
    for heading, found in in_full(table):
        lines += [f"## {heading}", ""] if heading else []
        lines += [*_markdown_lines(found), ""]
    lines += [f"- {one_line(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


#: Columns that a terminal of 80 characters, or the width of a page, can show.
WIDEST = 5


def one_column_a_run(table: Table) -> Iterator[tuple[str, list[list[str]]]]:
    """Of each row a table whose lines are its scores, and one of the published runs."""
    for row in table.rows:
        runs = table.run_lines(row)
        lines = [[table.label(row), *(f"seed {seed}" for seed, _ in runs), "mean"]]
        for column in table.columns:
            cell = table.cells[row, column]
            found = (_of_a_run(table, row, column, scores) for _, scores in runs)
            mean = score(cell) if cell.mean is None else cell.style.value(cell.metric, cell.mean)
            lines.append([column, *found, mean])
        yield row, lines
    if table.published_runs:
        lines = [["Published", *(f"run {n}" for n in range(1, len(table.published_runs) + 1))]]
        for column in table.columns:
            if any(column in run for run in table.published_runs):
                lines.append([column, *(f"{run[column]:g}" for run in table.published_runs)])
        yield "Published", lines
