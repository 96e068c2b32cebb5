"""Which row, dataset, point and seed a run is of; and what keeps others out of the table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from equigrid.errors import InputError
from equigrid.external_runs.schema import MOST_ROWS, Condition, KeySpec, RunsSpace, RunsSpec
from equigrid.external_runs.source import ExternalRun

Value = float | str
#: Row and dataset: what is selected over together. Without a key of it the dataset is empty.
Arm = tuple[str, str]
Point = tuple[tuple[str, Value], ...]

#: Runs of which as many different numbers are no setting of a method.
MANY = 10

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SEED = re.compile(r"(?:seed[ _=-]?)?(\d+)(?:\.0*)?", re.IGNORECASE)


def number_or_text(text: object) -> Value:
    """`1e-3`, `0.001` and `1E-03` are one value; what is no finite number stays text."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return str(text)
    if isinstance(text, int | float):
        return float(text)
    return float(text) if _NUMBER.fullmatch(text.strip()) else text.strip()


def plain(key: str) -> str:
    """A key as tables show it: `params.lr` → `lr`."""
    kind, _, name = key.partition(".")
    return name if kind in ("params", "tags", "metrics", "attributes") and name else key


@dataclass
class Entry:
    """A run and what became of it.

    roles: whether it selects (`grid`), is tested (`final`), or both. arm, point, seed: None as long
    as they are not known. fate: what became of it, empty while it counts. score: what it was
    selected by, at `step`. cells: the columns that it has a score in.
    """

    run: ExternalRun
    values: Mapping[str, str]
    roles: frozenset[str] = frozenset()
    arm: Arm | None = None
    point: Point | None = None
    seed: int | None = None
    fate: str = ""
    score: float | None = None
    step: int | None = None
    cells: dict[str, float] = field(default_factory=dict)

    def value(self, spec: KeySpec) -> str | None:
        """By a key; of a pattern the group. None where the run has no such value."""
        text = self.text(spec.key)
        if text is not None and spec.pattern is not None:
            found = re.search(spec.pattern, text)
            return found.group(1) if found else None
        return text

    def text(self, key: str) -> str | None:
        found = self.values.get(key)
        return self.run.value(key) if found is None else found


def entries(
    space: RunsSpace, runs: Sequence[ExternalRun], kept: frozenset[str] | None
) -> list[Entry]:
    """Every run with its identity, or with the reason why it has none.

    kept: ids that the file's filter leaves; None where it has none. Raises InputError where the
    row's key tells too many rows apart.
    """
    spec = space.runs
    by_id = {run.id: run for run in runs}
    parents = {run.parent for run in runs if run.parent}
    found = []
    for run in runs:
        entry = Entry(run, _values(run, by_id, spec))
        found.append(entry)
        is_parent, is_child = run.id in parents, bool(run.parent)
        if is_parent and spec.nested == "children":
            entry.fate = "parent of other runs"
        elif is_child and spec.nested == "parents":
            entry.fate = "child of another run"
        elif kept is not None and run.id not in kept:
            entry.fate = "left out by filter"
        elif not _holds(spec.only, entry):
            entry.fate = "left out by only"
        else:
            entry.fate = _identify(entry, space)
            if run.status not in spec.statuses:
                entry.fate = f"status {run.status}"
    named = {entry.arm[0] for entry in found if entry.arm}
    if len(named) > MOST_ROWS:
        keys = ", ".join(it.key for it in spec.row)
        raise InputError(
            f"runs.row: {keys} has {len(named)} values; a table has at most {MOST_ROWS} rows: name "
            "those that it should have under `rows`"
        )
    _points(found, spec)
    if not any(entry.seed is not None for entry in found if not entry.fate) and spec.seed is None:
        _number(found)
    return found


def _values(
    run: ExternalRun, by_id: Mapping[str, ExternalRun], spec: RunsSpec
) -> Mapping[str, str]:
    """A run's values by key, a parent's below them where they are inherited, renamed."""
    values = dict(run.values)
    parent = by_id.get(run.parent)
    if spec.inherit and parent is not None:
        values = {n: it for n, it in parent.values.items() if n.startswith("params.")} | values
    for old, new in spec.rename.items():
        if old in values:
            values.setdefault(new, values.pop(old))
    return values


def _holds(condition: Condition, entry: Entry) -> bool:
    for key, allowed in condition.items():
        text = entry.text(key)
        if text is None or number_or_text(text) not in {number_or_text(it) for it in allowed}:
            return False
    return True


def _identify(entry: Entry, space: RunsSpace) -> str:
    """Fill in roles, arm and seed; why the run cannot count, empty where it can."""
    spec = space.runs
    entry.roles = frozenset(
        role for role, it in (("grid", spec.grid), ("final", spec.final)) if _holds(it, entry)
    )
    if not entry.roles:
        return "neither of grid nor of final"
    row = [entry.value(it) for it in spec.row]
    for given, value in zip(spec.row, row, strict=True):
        if value is None:
            return f"without {given.key}"
    name = ", ".join(value for value in row if value is not None)
    dataset: str | None = ""
    if spec.dataset is not None:
        dataset = entry.value(spec.dataset)
        if dataset is None:
            return f"without {spec.dataset.key}"
    if spec.seed is not None:
        text = entry.value(spec.seed)
        if text is None:
            return f"without {spec.seed.key}"
        seed = _SEED.fullmatch(text.strip())
        if seed is None:
            return f"{spec.seed.key} is no whole number"
        entry.seed = int(seed.group(1))
    if space.rows is not None and name not in space.rows:
        return "row not in the table"
    if spec.dataset is not None and dataset not in {it.dataset for it in space.columns.values()}:
        return "dataset in no column"
    entry.arm = (name, str(dataset))
    return ""


def _points(found: Sequence[Entry], spec: RunsSpec) -> None:
    """The searched values of each run. A key that no run of an arm has is none of its values."""
    has: dict[Arm, set[str]] = {}
    for entry in found:
        if entry.arm is not None:
            has.setdefault(entry.arm, set()).update(
                k for k in spec.searched if entry.text(k) is not None
            )
    for entry in found:
        if entry.arm is None:
            continue
        point: list[tuple[str, Value]] = []
        for key in spec.searched:
            if key not in has[entry.arm]:
                continue
            text: object = entry.text(key)
            text = spec.missing.get(key) if text is None else text
            if text is None:
                entry.fate = entry.fate or f"without {key}"
                break
            point.append((plain(key), number_or_text(text)))
        else:
            entry.point = tuple(point)


def _number(found: Sequence[Entry]) -> None:
    """Where no key says which seed a run has, those of a point are counted as they began."""
    counts: dict[tuple[Arm, Point], int] = {}
    for entry in found:
        if entry.arm is not None and entry.point is not None and not entry.fate:
            place = (entry.arm, entry.point)
            entry.seed = counts.get(place, 0)
            counts[place] = entry.seed + 1


def unnamed(found: Sequence[Entry], spec: RunsSpec) -> dict[str, str]:
    """Parameters that differ between runs of one arm, point and role, and how, by key.

    What is different in every run (a folder, an id), or different for every seed and the same
    wherever the seed is the same, is no hyperparameter.
    """
    named = {*spec.searched, *spec.ignore, *(it.key for it in spec.row), *spec.missing}
    named |= {it.key for it in (spec.dataset, spec.seed) if it is not None}
    groups: dict[tuple[Arm, Point, frozenset[str]], list[Entry]] = {}
    for entry in found:
        if not entry.fate and entry.arm is not None and entry.point is not None:
            groups.setdefault((entry.arm, entry.point, entry.roles), []).append(entry)
    counted = [entry for group in groups.values() for entry in group]
    keys = {key for entry in counted for key in entry.values if key.startswith("params.")} - named
    told = {}
    for key in sorted(keys):
        for (arm, _, _), group in groups.items():
            values = {entry.run.id: _shown(entry.text(key)) for entry in group}
            if len(set(values.values())) > 1 and not _tells_runs_apart(key, counted):
                texts = sorted(set(values.values()))[:4]
                told[key] = f"{' and '.join(texts)} in {' / '.join(filter(None, arm))}"
                break
    return told


def _shown(text: str | None) -> str:
    return "nothing" if text is None else f"{number_or_text(text)}"


def _tells_runs_apart(key: str, counted: Sequence[Entry]) -> bool:
    """Whether a value is each run's own, or each seed's own wherever the seed is the same.

    Of a few runs with a number each nobody can say: such a key has to be named.
    """
    texts = [text for entry in counted if (text := entry.text(key)) is not None]
    if len(set(texts)) == len(texts) > len(counted) / 2:
        numbers = all(isinstance(number_or_text(text), float) for text in texts)
        return not numbers or len(texts) >= MANY
    if len(texts) < len(counted):
        return False
    by_seed: dict[int | None, set[str]] = {}
    for entry, text in zip(counted, texts, strict=True):
        by_seed.setdefault(entry.seed, set()).add(text)
    firsts = {next(iter(values)) for values in by_seed.values()}
    return all(len(values) == 1 for values in by_seed.values()) and len(firsts) == len(by_seed)
