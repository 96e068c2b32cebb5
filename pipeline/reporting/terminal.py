"""A table on the terminal: no wider than its window, and no number cut in two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table as RichTable

from equigrid.reporting import formats
from equigrid.reporting.formats import WIDEST
from equigrid.reporting.table import Table

Lines = list[list[str]]


def terminal(table: Table, width: int) -> list[RichTable]:
    """Scores, paired differences and latents, for rich; in their short forms where they need it.

    width: of the window, in characters.
    """
    found: list[RichTable] = []
    for heading, part in formats.parts(table):
        title = ": ".join(filter(None, (table.title, heading)))
        scores = [formats.headings(part), *formats.body(part)]
        if len(scores[0]) > WIDEST and part.layout == "runs":
            several = [lines for _, lines in formats.one_column_a_run(part)]
            for n, lines in enumerate(several):
                found += _drawn([lines], width, "" if n else title)
        else:
            short = _one_line_a_cell(part)
            found += _drawn([short] if len(scores[0]) > WIDEST else [scores, short], width, title)
        if compared := formats.comparisons(part):
            found += _drawn([compared, _one_line_a_column(compared)], width)
    for lines in formats.latents(table):
        found += _drawn([lines], width)
    return found


def _one_line_a_cell(table: Table) -> Lines:
    """With what is published beside it, where anything is."""
    more = ["Published", "Difference"] if table.has_published else []
    lines = [["Method", "Column", "Score", *more]]
    for (row, column), cell in table.cells.items():
        if column not in table.columns:
            continue
        line = [table.label(row), column, formats.score(cell)]
        if table.has_published:
            line += [formats.published(cell), formats.difference(table, row, column)]
        lines.append(line)
    return lines


def _one_line_a_column(lines: Lines) -> Lines:
    """Of lines with several columns, a line for each that has something."""
    (first, *columns), *rest = lines
    return [
        [first, "Column", ""],
        *(
            [line[0], column, text]
            for line in rest
            for column, text in zip(columns, line[1:], strict=True)
            if text != formats.DASH
        ),
    ]


def _drawn(forms: Sequence[Lines], width: int, title: str = "") -> Iterator[RichTable]:
    """The first form that fits as it is, else the last, its texts in several lines.

    Where even single words are too wide, its columns in several tables.
    """
    lines = next((it for it in forms if sum(_widths(it)) <= _room(it, width)), forms[-1])
    while lines:
        shown, lines = _split(lines, width)
        rendered = RichTable(title=escape(title) if title else None, title_justify="left")
        for n, (heading, wide) in enumerate(zip(shown[0], _fitted(shown, width), strict=True)):
            rendered.add_column(escape(heading), justify="left" if n == 0 else "right", width=wide)
        for cells in shown[1:]:
            rendered.add_row(*map(escape, cells))
        yield rendered
        title = ""


def _split(lines: Lines, width: int) -> tuple[Lines, Lines]:
    """As many columns as fit, two at least; then the first and the others, or nothing."""
    count = len(lines[0])
    while count > 2 and sum(_words([it[:count] for it in lines])) > width - 3 * count - 1:
        count -= 1
    rest = [[line[0], *line[count:]] for line in lines] if count < len(lines[0]) else []
    return [line[:count] for line in lines], rest


def _fitted(lines: Lines, width: int) -> list[int]:
    """Widths of columns: of the widest, character by character, as much as there is too little."""
    widths, words = _widths(lines), _words(lines)
    while sum(widths) > _room(lines, width):
        wider = [n for n, wide in enumerate(widths) if wide > words[n]]
        if not wider:
            break
        widths[max(wider, key=lambda n: widths[n])] -= 1
    return widths


def _room(lines: Lines, width: int) -> int:
    """What borders and the space beside them leave."""
    return width - 3 * len(lines[0]) - 1


def _widths(lines: Lines) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _words(lines: Lines) -> list[int]:
    """The widest word of each column."""
    return [
        max(cell_len(word) for text in column for word in (text or " ").split(" "))
        for column in zip(*lines, strict=True)
    ]
