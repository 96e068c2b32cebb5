"""What became of every run: identified, scored, selected over, in a cell, or why it is not."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from equigrid.errors import InputError
from equigrid.external_runs import scores
from equigrid.external_runs.identity import Arm, Entry, Point, entries, plain, unnamed
from equigrid.external_runs.schema import RunsSpace
from equigrid.external_runs.source import Curves, ExternalRun, Source, by_step

#: Scores as near as this, relatively, are equal: some clients log in single precision.
TIE = 1e-6
#: Metrics that are listed where one is not found.
LISTED = 20
IN_CELL, SELECTED_BY = "in a cell", "in the selection alone"
ROLES = ("grid", "final")
NOT_WHOLE, NOT_SELECTED = "point without all its seeds", "not at the selected point"


@dataclass(frozen=True)
class Candidate:
    """A point of an arm. score: mean of what selects, over `seeds`; None unless they are whole."""

    point: Point
    seeds: tuple[int, ...]
    wanted: int
    score: float | None

    @property
    def is_whole(self) -> bool:
        return len(self.seeds) == self.wanted


@dataclass(frozen=True)
class Choice:
    """Of an arm the points that were compared, best first, and the one that is tested.

    point: None where no point has a score.
    """

    point: Point | None
    candidates: tuple[Candidate, ...]
    score: float | None = None


@dataclass
class Collection:
    """Runs sorted into a table's cells.

    entries: every run of the experiments, once. rows: in the table's order. choices: by arm.
    finals: of each arm the tested runs by seed, at the selected point. wanted: by role and arm the
    seeds that a point, a cell should have. tests: scores in cells; once: those that were logged
    once for a run. other: parameters that vary and were ignored.
    """

    space: RunsSpace
    source: str
    entries: list[Entry]
    rows: tuple[str, ...] = ()
    choices: dict[Arm, Choice] = field(default_factory=dict)
    finals: dict[Arm, dict[int, Entry]] = field(default_factory=dict)
    wanted: dict[str, dict[Arm, tuple[int, ...]]] = field(default_factory=dict)
    once: int = 0
    tests: int = 0
    other: tuple[str, ...] = ()

    def arms(self) -> list[Arm]:
        datasets = dict.fromkeys(it.dataset or "" for it in self.space.columns.values())
        return [(row, dataset) for row in self.rows for dataset in datasets]

    def label(self, row: str) -> str:
        """A row as the table shows it."""
        return self.space.rows[row].name if self.space.rows else row

    def fates(self) -> dict[str, list[Entry]]:
        """Runs by what became of them, those that count first, then the most frequent."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.fate, []).append(entry)
        first = {fate: n for n, fate in enumerate((IN_CELL, SELECTED_BY, NOT_SELECTED))}
        return dict(
            sorted(found.items(), key=lambda it: (first.get(it[0], len(first)), -len(it[1]), it[0]))
        )


def collect(space: RunsSpace, source: Source) -> Collection:
    """Read a source and sort its runs; raises InputError where the file does not decide."""
    runs = source.runs()
    found = Collection(space, source.described(), entries(space, runs, source.matching()))
    counted = [entry for entry in found.entries if not entry.fate]
    names = dict.fromkeys(entry.arm[0] for entry in found.entries if entry.arm is not None)
    found.rows = tuple(space.rows) if space.rows is not None else tuple(sorted(names))
    if not found.rows:
        raise InputError(f"{found.source}: no run has a row; {_summary(found)}")
    _known_rows(space, found.rows)
    _known_metrics(space, runs)
    found.other = _others(counted, space)
    _drop_duplicates(counted, space)
    counted = [entry for entry in counted if not entry.fate]
    for role in ROLES:
        found.wanted[role] = {arm: _wanted(found, arm, role) for arm in found.arms()}
    _select(found, counted, source)
    _test(found, counted, source)
    for entry in counted:
        entry.fate = entry.fate or _unused(found, entry)
    return found


def _summary(found: Collection) -> str:
    counts = [f"{len(them)} {fate or 'counted'}" for fate, them in found.fates().items()]
    return ", ".join(counts) or "there is no run"


def _known_rows(space: RunsSpace, rows: Sequence[str]) -> None:
    named = [*([space.reference] if space.reference else []), *(space.published or {})]
    for row in named:
        if row not in rows:
            raise InputError(f"no row {row!r} (reference, published); there are: {', '.join(rows)}")


def _known_metrics(space: RunsSpace, runs: Sequence[ExternalRun]) -> None:
    """InputError for a metric that no run has logged."""
    there = sorted({name for run in runs for name in run.metrics})
    wanted = [(f"columns.{name}", it.metric) for name, it in space.columns.items()]
    if space.runs.select is not None:
        wanted.append(("runs.select", space.runs.select.metric))
    for place, metric in wanted:
        if metric not in there:
            near = difflib.get_close_matches(metric, there, n=1)
            guess = f" (do you mean {near[0]!r}?)" if near else ""
            shown = ", ".join(there[:LISTED]) + (" …" if len(there) > LISTED else "")
            raise InputError(f"{place}: no run has logged {metric!r}{guess}; there are: {shown}")


def _others(counted: Sequence[Entry], space: RunsSpace) -> tuple[str, ...]:
    told = unnamed(counted, space.runs)
    if told and space.runs.others == "refuse":
        texts = "; ".join(f"{key} ({text})" for key, text in told.items())
        raise InputError(
            f"runs: within one point there is more than one setting of {texts}. Name it under "
            "`searched`, under `ignore`, or say `others: ignore`"
        )
    return tuple(map(plain, told))


def _drop_duplicates(counted: Sequence[Entry], space: RunsSpace) -> None:
    """Of runs of one identity the newest, where the file says so; else they are refused by name."""
    for role in ROLES:
        same: dict[tuple[Arm | None, Point | None, int | None], list[Entry]] = {}
        for entry in counted:
            if role in entry.roles and not entry.fate:
                same.setdefault((entry.arm, entry.point, entry.seed), []).append(entry)
        for group in same.values():
            if len(group) == 1:
                continue
            if space.runs.duplicates == "refuse":
                raise InputError(_told_twice(group))
            newest = max(group, key=lambda entry: (entry.run.started, entry.run.id))
            for entry in group:
                if entry is not newest:
                    entry.fate = "duplicate of a newer run"


def _told_twice(group: Sequence[Entry]) -> str:
    first, second = group[:2]
    keys = sorted(
        key
        for key in {*first.values, *second.values}
        if not key.startswith(("attributes.", "tags.mlflow."))
        and first.text(key) != second.text(key)
    )  # fmt: skip
    differ = f"they differ in {', '.join(keys[:6])}" if keys else "nothing tells them apart"
    place = " / ".join(filter(None, first.arm or ()))
    point = ", ".join(f"{name} {value}" for name, value in first.point or ())
    return (
        f"runs {first.run.id} and {second.run.id} are both {place}, {point or 'no searched value'}"
        f", seed {first.seed}; {differ}. Name what tells them apart under `searched`, or say "
        "`duplicates: newest`"
    )


def _wanted(found: Collection, arm: Arm, role: str) -> tuple[int, ...]:
    """Seeds that a point should have: the row's, the file's, or all that any run of the arm has."""
    seeds, rows = found.space.seeds, found.space.rows
    own = rows[arm[0]].seeds if rows else None
    named = own or seeds.final
    if role == "grid":
        # Where runs of their own select, they have seeds of their own.
        named = seeds.grid or (None if found.space.runs.grid else named)
    if named:
        return tuple(named)
    return tuple(sorted({
        entry.seed for entry in found.entries
        if entry.arm == arm and role in entry.roles and entry.seed is not None
    }))  # fmt: skip


def _curves(source: Source, wanted: Iterable[tuple[Entry, str]]) -> Curves:
    return source.curves([(entry.run, metric) for entry, metric in wanted])


def _select(found: Collection, counted: Sequence[Entry], source: Source) -> None:
    """The point of each arm: the only one, or the best of those that are whole."""
    select = found.space.runs.select
    points: dict[Arm, dict[Point, list[Entry]]] = {}
    for entry in counted:
        if entry.arm is not None and entry.point is not None and "grid" in entry.roles:
            points.setdefault(entry.arm, {}).setdefault(entry.point, []).append(entry)
    several = {arm: it for arm, it in points.items() if len(it) > 1}
    if select is not None:
        ranked = [e for it in several.values() for group in it.values() for e in group]
        curves = (
            {} if select.at == "last" else _curves(source, [(e, select.metric) for e in ranked])
        )
        for entry in ranked:
            curve = by_step(curves.get((entry.run.id, select.metric), ()))
            score = scores.validation(select, entry.run, curve)
            entry.score, entry.step = score.value, score.step
            entry.fate = score.why
    for arm in found.arms():
        if arm in several:
            found.choices[arm] = _choose(found, several[arm], set(found.wanted["grid"][arm]))
            continue
        only = points.get(arm) or {
            entry.point: [] for entry in counted if entry.arm == arm and entry.point is not None
        }
        if len(only) > 1:
            raise InputError(f"{' / '.join(filter(None, arm))}: {len(only)} points are tested, and "
                             "no run of `grid` chooses among them")  # fmt: skip
        found.choices[arm] = Choice(next(iter(only), None), ())


def _choose(found: Collection, points: Mapping[Point, Sequence[Entry]], wanted: set[int]) -> Choice:
    runs, sign = found.space.runs, -1 if _is_max(found.space) else 1
    candidates = []
    for point, group in points.items():
        known = {e.seed: e.score for e in group if e.seed in wanted and e.score is not None}
        whole = known.keys() == wanted
        score = fmean(known.values()) if known and (whole or runs.incomplete == "use") else None
        seeds = tuple(sorted(seed for seed in known if seed is not None))
        candidates.append(Candidate(point, seeds, len(wanted), score))
    ranked = [it for it in candidates if it.score is not None]
    if not ranked:
        return Choice(None, tuple(candidates))
    best = min(sign * it.score for it in ranked if it.score is not None)
    near = [it for it in ranked if math.isclose(sign * (it.score or 0.0), best, rel_tol=TIE)]
    chosen = min(near, key=lambda it: _lower_first(it.point))
    rest = sorted(
        (it for it in candidates if it is not chosen),
        key=lambda it: (it.score is None, sign * (it.score or 0.0), _lower_first(it.point)),
    )
    return Choice(chosen.point, (chosen, *rest), chosen.score)


def _is_max(space: RunsSpace) -> bool:
    return space.runs.select is not None and space.runs.select.mode == "max"


def _lower_first(point: Point) -> tuple[tuple[bool, float, str], ...]:
    """Numbers as numbers, before texts."""
    return tuple(
        (isinstance(value, str), 0.0 if isinstance(value, str) else value, str(value))
        for _, value in point
    )


def _unused(found: Collection, entry: Entry) -> str:
    """Why a sound run is in no cell."""
    assert entry.arm is not None
    wanted = {role: entry.seed in found.wanted[role][entry.arm] for role in entry.roles}
    if wanted.get("grid"):
        compared = {it.point: it for it in found.choices[entry.arm].candidates}
        candidate = compared.get(entry.point) if entry.point is not None else None
        return NOT_WHOLE if candidate is not None and candidate.score is None else SELECTED_BY
    return NOT_SELECTED if wanted.get("final") else "seed not wanted"


def _test(found: Collection, counted: Sequence[Entry], source: Source) -> None:
    """Scores of the runs at each arm's selected point."""
    space, runs = found.space, found.space.runs
    tested = []
    for arm in found.arms():
        point, wanted = found.choices[arm].point, found.wanted["final"][arm]
        tested += [
            entry for entry in counted
            if entry.arm == arm and "final" in entry.roles and not entry.fate
            and point is not None and entry.point == point and entry.seed in wanted
        ]  # fmt: skip
    metrics = [it.metric for it in space.columns.values()]
    joined = runs.scores_at == "selected"
    needed = [(entry, metric) for entry in tested for metric in dict.fromkeys(metrics)]
    curves = dict(_curves(source, needed)) if joined else {}
    steps = {key: by_step(points) for key, points in curves.items()}
    if runs.select is not None and joined:
        metric = runs.select.metric
        late = [e for e in tested if e.step is None
                and any(len(steps.get((e.run.id, it), ())) > 1 for it in metrics)]  # fmt: skip
        found_late = _curves(source, [(entry, metric) for entry in late])
        for entry in late:
            entry.step = _step_of(found.space, by_step(found_late.get((entry.run.id, metric), ())))
    for entry in tested:
        assert entry.arm is not None
        assert entry.seed is not None
        whys = []
        for name, column in space.columns.items():
            if (column.dataset or "") != entry.arm[1]:
                continue
            curve = steps.get((entry.run.id, column.metric), {})
            score = scores.test(column.metric, entry.run, curve, entry.step, runs.scores_at)
            if score.value is None:
                whys.append(score.why)
                continue
            entry.cells[name] = score.value
            found.tests += 1
            found.once += score.once
        entry.fate = IN_CELL if entry.cells else whys[0]
        found.finals.setdefault(entry.arm, {})[entry.seed] = entry


def _step_of(space: RunsSpace, curve: Mapping[int, float]) -> int | None:
    """The step that validation selects in a run that was not compared with others."""
    select = space.runs.select
    assert select is not None
    if select.at == "last":
        return max(curve, default=None)
    found = scores.validation(select, _NOBODY, curve)
    return found.step


_NOBODY = ExternalRun("")
