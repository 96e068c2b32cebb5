"""A table as LaTeX that goes into a paper as it is: floats with captions, numbers as math."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from equigrid.metrics.direction import is_share
from equigrid.reporting import formats
from equigrid.reporting.comparison import CONFIDENCE, Comparison
from equigrid.reporting.formats import DASH, WIDEST, one_line
from equigrid.reporting.ranking import Ranking, ranking
from equigrid.reporting.table import LATENT_MEASURES, Cell, Table
from equigrid.reporting.verdicts import ALPHA
from equigrid.reporting.words import short

PACKAGES = "% \\usepackage{booktabs, adjustbox, amssymb}"

_TEX = str.maketrans({
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "[": "{[}", "*": "{*}", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': r"\textquotedbl{}",
    "–": "--", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$",
    "†": r"$\dagger$", "↳": r"$\hookrightarrow$", "−": r"$-$", "√": r"$\surd$", "∞": r"$\infty$",
})  # fmt: skip
_DIRECTIONS = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
_MARKS = {
    "better": r"$\blacktriangle$", "worse": r"$\blacktriangledown$", "higher": r"$\vartriangle$",
    "lower": r"$\triangledown$", "undecided": r"$\circ$",
}  # fmt: skip
#: Greek letters whose name in LaTeX is the Latin letter they look like.
_LATIN = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEZHIKMNOPTYXo", strict=True))


def escaped(text: str) -> str:
    """Text as LaTeX shows it; Greek letters as math.

    `[` and `*` in braces: after a line's end LaTeX would take them for its arguments.
    """
    return "".join(map(_greek, one_line(text).translate(_TEX)))


def _greek(letter: str) -> str:
    found = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(letter, ""))
    if found is None:
        return letter
    if letter in _LATIN:
        return f"${_LATIN[letter]}$"
    name = {"LAMDA": "lambda"}.get(found[2], found[2].lower())
    return f"$\\{name if found[1] == 'SMALL' else name.capitalize()}$"


def number(text: str) -> str:
    """A number for math mode: `1.2e-05` → `1.2 \\times 10^{-5}`."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa} \\times 10^{{{int(exponent)}}}" if exponent else mantissa


def scores(table: Table) -> str:
    """The table itself, one float for each of its parts."""
    ranks = ranking(table)
    lines = [PACKAGES, *(f"% {one_line(note)}" for note in table.notes)]
    for heading, part in formats.parts(table):
        if part.layout == "runs" and len(part.columns) > WIDEST:
            lines += _runs(part)
            continue
        size = "" if table.external else "r"
        lines += _float(
            f"l{size}{'c' * len(part.columns)}",
            [_headings(part)],
            _body(part, ranks),
            _caption(part, heading, ranks),
            ":".join(filter(None, ("tab", table.name, heading))),
        )
    return "\n".join(lines) + "\n"


def _runs(table: Table) -> Iterator[str]:
    """A float for each row, with a column for each of its runs."""
    for name, (head, *body) in formats.one_column_a_run(table):
        title = f"{escaped(table.title)}: {escaped(name)}."
        caption = f"{title} Test scores of each run."
        lines = [[escaped(first), *map(_read, rest)] for first, *rest in body]
        label = f"tab:{table.name}:{name}"
        yield from _float(
            "l" + "c" * (len(head) - 1), [[*map(escaped, head)]], lines, caption, label
        )


def _read(text: str) -> str:
    """A cell that has a number as math."""
    try:
        float(text)
    except ValueError:
        return escaped(text)
    return f"${number(text)}$"


def _headings(table: Table) -> list[str]:
    names = [
        escaped(name) + _DIRECTIONS[table.higher_is_better[column]]
        for name, column in zip(formats.short_names(table), table.columns, strict=True)
    ]
    return ["Method", *([] if table.external else ["Parameters"]), *names]


def _body(table: Table, ranks: Ranking) -> Iterator[list[str]]:
    common = _common_n(table)
    empty = [] if table.external else [""]
    for row in table.rows:
        for seed, found in table.run_lines(row):
            values = [
                f"${number(table.cells[row, column].style.value(cell.metric, found[column]))}$"
                if column in found
                else escaped(DASH)
                for column in table.columns
                if (cell := table.cells[row, column])
            ]
            yield [escaped(f"{row}, seed {seed}"), *empty, *values]
        size = formats.parameters(table, row)
        sizes = [] if table.external else [escaped(size).replace(" / ", "/").replace(" ", r"\,")]
        cells = [table.cells[row, column] for column in table.columns]
        shown = [
            _score(cell, common, (row, column) in ranks.best, (row, column) in ranks.level)
            for column, cell in zip(table.columns, cells, strict=True)
        ]
        yield [escaped(table.label(row)), *sizes, *shown]
        if any(cell.published for cell in cells):
            yield [r"\quad published", *empty, *map(_published, cells)]
        if any(cell.difference is not None for cell in cells):
            differences = [_difference(table, row, column) for column in table.columns]
            yield [r"\quad difference", *empty, *differences]
    for n, run in enumerate(table.published_runs, 1):
        values = [f"${run[it]:g}$" if it in run else escaped(DASH) for it in table.columns]
        yield [f"Published, run {n}", *empty, *values]


def _score(cell: Cell, common: int | None, is_best: bool, is_level: bool) -> str:
    """`$0.912 \\pm 0.004$`; what is missing first; n where it is not the caption's."""
    mark = r"$^{\dagger}$" if cell.doubts else ""
    if cell.mean is None:
        return escaped(DASH) + mark
    text = number(cell.style.value(cell.metric, cell.mean))
    if cell.wanted > 1 and cell.deviation is not None:
        text += rf" \pm {number(cell.style.value(cell.metric, cell.deviation))}"
    if is_best or is_level:
        text = (r"\mathbf{%s}" if is_best else r"\underline{%s}") % text
    if cell.is_whole:
        n = "" if len(cell.values) == common or cell.wanted <= 1 else f", $n = {len(cell.values)}$"
        return f"${text}${n}{mark}"
    gap = cell.gap or f"{len(cell.values)}/{cell.wanted} seeds"
    return f"{escaped(f'[{gap}]')} ${text}${mark}"


def _published(cell: Cell) -> str:
    if cell.published is None:
        return escaped(DASH)
    mean, style, digits = cell.published.mean, cell.style, cell.published.decimals
    text = number(style.published(cell.metric, mean, digits))
    if cell.published.std is not None:
        text += rf" \pm {number(style.published(cell.metric, cell.published.std, digits))}"
    return f"${text}$" + ("" if cell.published.seeds else "?")


def _difference(table: Table, row: str, column: str) -> str:
    cell, verdict = table.cells[row, column], table.verdicts.get((row, column))
    if cell.difference is None:
        return escaped(DASH)
    text = f"${number(cell.style.signed(cell.metric, cell.difference))}$"
    return text + (f" {verdict.word}" if verdict else "")


def _common_n(table: Table) -> int | None:
    """Of the whole cells of more than one seed, where it is the same everywhere."""
    found = {len(it.values) for it in table.cells.values() if it.is_whole and it.wanted > 1}
    return found.pop() if len(found) == 1 else None


def _caption(table: Table, heading: str, ranks: Ranking) -> str:
    cells = [cell for (_, column), cell in table.cells.items() if column in table.columns]
    metrics = ", ".join(
        escaped(short(metric).replace("_", " "))
        + (r" (\%)" if table.style.percent and is_share(metric) else "")
        for metric in dict.fromkeys(cell.metric for cell in cells)
    )
    n, said = _common_n(table), table.style.deviation
    of = f" over $n = {n}$ seeds" if n else ", $n$ seeds"
    title = escaped(": ".join(filter(None, (table.title, heading))))
    parts = [f"{title}.", f"Test {metrics}: mean $\\pm$ {said} standard deviation{of}."]
    if ranks.best:
        parts.append(
            "Bold: the best of a column; underlined: not shown to differ from it (paired $t$-test "
            rf"over the seeds, {100 * ALPHA:g}\,\% over the table by Holm's adjustment)."
        )
    if any(cell.published for cell in cells):
        text = "Published values stand below, with the difference from them"
        if table.verdicts:
            text += " and whether it agrees with them (Welch's tests with Holm's adjustment)"
        parts.append(f"{text}.")
        if any(cell.published and not cell.published.seeds for cell in cells):
            parts.append("?: of an unknown number of seeds.")
    if any(row in table.controls for row in table.rows):
        parts.append(r"$\hookrightarrow$: a control of the method above.")
    if not all(cell.is_whole or not cell.wanted for cell in cells):
        parts.append("--: missing; in brackets: what is missing.")
    if any(cell.doubts for cell in cells):
        why = "selected on the metric shown" if table.external else "a run in doubt"
        parts.append(rf"$\dagger$: {why}.")
    return " ".join(parts)


def comparisons(table: Table) -> str:
    """The paired differences with the reference row; empty without one."""
    lines: list[str] = []
    for heading, part in formats.parts(table):
        pairs = part.paired(part.against_reference())
        ns = {it.n for _, _, found in pairs for it in found if it and it.n == it.wanted}
        common = ns.pop() if len(ns) == 1 else None
        body = [
            [
                f"{escaped(minuend)} $-$ {escaped(subtrahend)}",
                *(_interval(table, it, common) for it in found),
            ]
            for minuend, subtrahend, found in pairs
        ]
        if not body:
            continue
        headings = ["", *_headings(part)[1 if table.external else 2 :]]
        n = f" ($n = {common}$)" if common else ""
        marks = ", ".join(f"{_MARKS[it]} {it}" for it in formats.marks_of(part))
        title = escaped(": ".join(filter(None, (table.title, heading))))
        caption = (
            f"{title}. Paired differences on shared seeds{n}, with a {100 * CONFIDENCE:g}\\,\\% "
            f"interval each by Student's $t$, not adjusted. {marks} of the first named, by the "
            rf"paired $t$-test at {100 * ALPHA:g}\,\% over all of them with Holm's adjustment."
        )
        label = ":".join(filter(None, ("tab", table.name, heading, "paired")))
        lines += _float("l" + "c" * len(part.columns), [headings], body, caption, label)
    return "\n".join([PACKAGES, *lines]) + "\n" if lines else ""


def _interval(table: Table, it: Comparison | None, common: int | None) -> str:
    if it is None:
        return escaped(DASH)
    text = f"${number(it.style.signed(it.metric, it.mean))}$"
    if it.low is not None and it.high is not None:
        low, high = (number(it.style.signed(it.metric, end)) for end in (it.low, it.high))
        text += f" $[{low}, {high}]$"
    found = table.outcomes.get(it.place)
    if it.n < it.wanted:
        text = f"{escaped(f'[{it.n}/{it.wanted} seeds]')} {text}"
    elif it.n != common:
        text += f", $n = {it.n}$"
    return text + (f" {_MARKS[found.word]}" if found else "")


def latents(table: Table) -> str:
    """How the group moves the latents, all datasets in one float; empty where not measured."""
    measured = table.latent_measures()
    if not measured:
        return ""
    every = [found for by_row in measured.values() for found in by_row.values()]
    names = [name for name in LATENT_MEASURES if any(name in found for found in every)]
    body: list[list[str]] = []
    for dataset, by_row in measured.items():
        if len(measured) > 1:
            rule = r"\midrule " if body else ""
            body.append([rf"{rule}\multicolumn{{{len(names) + 1}}}{{l}}{{{escaped(dataset)}}}"])
        for row in table.rows:
            if row not in table.trivial_rows:
                means = by_row.get(row, {})
                shown = [
                    f"${number(f'{means[it]:.3g}')}$" if it in means else escaped(DASH)
                    for it in names
                ]
                body.append([escaped(table.label(row)), *shown])
    caption = (
        f"{escaped(table.title)}. How the group moves the latents on validation, mean over the "
        r"seeds: $\sum \|\rho(g) E(x) - E(gx)\|^2 / \sum \|E(gx) - \mathrm{mean}\|^2$ with the "
        r"regular representation as $\rho$ (equivariance error), with mean latents removed first, "
        r"with the identity for $\rho$; the share of the latents' variance that every $\rho(g)$ "
        "fixes. --: not measured, or invariant by construction."
    )
    headings = ["Method", *(escaped(LATENT_MEASURES[name]) for name in names)]
    lines = _float("l" + "c" * len(names), [headings], body, caption, f"tab:{table.name}:latents")
    return "\n".join([PACKAGES, *lines]) + "\n"


def _float(
    columns: str,
    head: Sequence[Sequence[str]],
    body: Iterable[Sequence[str]],
    caption: str,
    label: str,
) -> list[str]:
    """A `table` no wider than the text. label: any text; LaTeX takes no `_`, `%` and the like."""
    return [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\smallskip",
        rf"\label{{{re.sub('[^A-Za-z0-9:.+-]+', '-', label)}}}",
        r"\begin{adjustbox}{max width=\linewidth}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *(" & ".join(cells) + r" \\" for cells in head),
        r"\midrule",
        *(" & ".join(cells) + r" \\" for cells in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table}",
    ]
