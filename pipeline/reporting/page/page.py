"""A table and how it came about as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined

from equigrid.reporting import formats
from equigrid.reporting.page.charts import State
from equigrid.reporting.ranking import ranking
from equigrid.reporting.summary import sentences
from equigrid.reporting.table import Table
from equigrid.reporting.words import number, spoken

#: Beside a verdict's word: colour alone says nothing to many.
SYMBOLS = {"agrees": "✓", "above": "▲", "below": "▼", "undecided": "○"}
#: Of a hash.
SHORT = 12


@dataclass(frozen=True)
class Chart:
    """name: of its PDF, without suffix; empty where there is none. svg: the whole element, trusted
    as it is, of a photograph or an animation an img.
    """

    name: str
    heading: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Section:
    """missing: what could not be drawn, and why."""

    charts: tuple[Chart, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Further:
    """A section that not every report has. identifier: of its anchor."""

    identifier: str
    title: str
    section: Section


@dataclass(frozen=True)
class Run:
    """One trial. scores: by heading, what was measured.

    error: relative equivariance error on validation. reason: why it failed. doubt: how its
    tracked run departs from its record. run_id: MLflow's; it and the three after it are empty
    where unknown. became: of a run that was not made here. url: where a browser shows the run.
    """

    point: str
    seed: int
    key: str
    state: State
    scores: Mapping[str, float]
    error: float | None = None
    reason: str = ""
    doubt: str = ""
    run_id: str = ""
    data_sha256: str = ""
    commit: str = ""
    hardware: str = ""
    became: str = ""
    url: str = ""


@dataclass(frozen=True)
class ArmSection:
    """A row on a dataset: what is selected and trained together.

    columns: of the table that it feeds. selection: how its point was chosen, in a sentence.
    show: commands that print the runs behind its cells.
    """

    row: str
    dataset: str
    columns: tuple[str, ...]
    gap: str
    selection: str
    heat_map: Chart | None
    grid: tuple[Run, ...]
    finals: tuple[Run, ...]
    show: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """What a report says.

    select: the validation score that selects. further: sections that tasks and objectives add.
    facts: (term, text) of how it was made.
    environments: distinct ones, with how many trainings ran in each. commands: rebuild the table.
    """

    table: Table
    select: str
    arms: tuple[ArmSection, ...]
    seeds: Section
    differences: Section
    curves: Section
    equivariance: Section
    parameters: Section
    further: tuple[Further, ...]
    samples: Section
    facts: tuple[tuple[str, str], ...]
    environments: tuple[tuple[Mapping[str, str], int], ...]
    commands: tuple[str, ...]


def render(content: Content) -> str:
    """The page. The same content gives the same text.

    Its one script sorts tables; the page's policy names it by its hash, so that no other runs.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    beside = resources.files("equigrid.reporting.page")
    template = environment.from_string(beside.joinpath("report.html.j2").read_text("utf-8"))
    script = beside.joinpath("sort.js").read_text("utf-8")
    table = content.table
    return (
        template.render(
            content=content,
            table=table,
            anchors={(g.row, g.dataset): f"group-{n}" for n, g in enumerate(content.arms)},
            comparisons=table.paired(table.against_reference()),
            all_pairs=table.paired(table.comparisons),
            marks=formats.marks_of(table),
            ranks=ranking(table),
            sentences=list(sentences(table)),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            arrows={True: "↑", False: "↓", None: ""},
            datasets=list(dict.fromkeys(arm.dataset for arm in content.arms)),
            latents=list(formats.latents(table)),
            parameters={row: formats.parameters(table, row) for row in table.rows},
            symbols=SYMBOLS,
            formats=formats,
            spoken=spoken,
            number=number,
            short=lambda text: text[:SHORT],
        )
        + "\n"
    )
