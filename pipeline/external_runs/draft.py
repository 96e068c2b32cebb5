"""A first search space for tracked runs: what varies and how says what each key may be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from equigrid.errors import InputError
from equigrid.external_runs.identity import number_or_text
from equigrid.external_runs.source import ExternalRun

#: Words by which people name things, the likeliest first.
ROW = ("row", "model", "method", "algorithm", "algo", "architecture", "arch", "estimator",
       "network", "net", "classifier", "approach", "name")  # fmt: skip
DATASET = ("dataset", "data", "task", "benchmark", "env", "environment", "domain")
SEARCHED = ("lr", "learning_rate", "weight_decay", "wd", "lambda", "alpha", "beta", "gamma", "c",
            "dropout", "temperature", "momentum")  # fmt: skip
SEED = re.compile(r"seed|random_state", re.IGNORECASE)
SEED_IN_NAME = r"seed[ _=-]?(\d+)"
VALIDATION = re.compile(r"(^|[^a-z])(val|valid|validation|dev|cv)([^a-z]|$)|mean_test_score", re.I)
LOWER = re.compile(r"loss|err|rmse|mse|mae|perplexity|ppl|nll|fid", re.IGNORECASE)
#: Rows and columns that are written out.
MOST = 30
CHOOSE = "CHOOSE"


@dataclass(frozen=True)
class Key:
    """A key of runs. values: by run, of those that have it."""

    name: str
    values: Mapping[str, str]

    @property
    def distinct(self) -> list[str]:
        return sorted(set(self.values.values()), key=lambda it: (str(type(number_or_text(it))), it))

    @property
    def is_numeric(self) -> bool:
        return all(isinstance(number_or_text(it), float) for it in self.values.values())

    @property
    def word(self) -> str:
        """What it is called, without where it lies: `params.optim.lr` → `lr`."""
        return re.split(r"[./]", self.name)[-1].lower()


def draft(runs: Sequence[ExternalRun], where: Mapping[str, object], title: str) -> str:
    """A search space as YAML, with the reason for each line. InputError where there is no run.

    where: of its `runs`, what says which they are. The test metric is never guessed.
    """
    if not runs:
        raise InputError(f"{title}: there is no run to look at")
    parents = {run.parent for run in runs if run.parent}
    leaves = [run for run in runs if run.id not in parents]
    keys = _keys(leaves, runs)
    seed = _seed(keys, leaves)
    taken = {seed.name} if seed else set()
    dataset = _named(keys, DATASET, taken)
    taken |= {dataset.name} if dataset else set()
    row = _row(keys, taken)
    taken |= {row.name} if row else set()
    searched = [it for it in keys if it.name not in taken and _is_searched(it, row, dataset)]
    lines = [
        f"# Written by looking at {len(runs)} runs ({len(parents)} of them parents of others).",
        "# Lines with a ? are guesses: check them. What is called CHOOSE nobody but you can know.",
        f"title: {_text(title)}", "runs:",
        *(f"  {name}: {_text(value)}" for name, value in where.items()),
        *_row_lines(row), *_dataset_lines(dataset), *_seed_lines(seed),
        *_searched_lines(searched), *_state_lines(keys, leaves), *_inherit_lines(leaves, runs),
        *_select_lines(leaves, searched),
    ]  # fmt: skip
    lines += _rows(row) if row else []
    lines += [*_columns(leaves, dataset), *_seeds(seed)]
    return "\n".join(lines) + "\n"


def _keys(leaves: Sequence[ExternalRun], runs: Sequence[ExternalRun]) -> list[Key]:
    by_id = {run.id: run for run in runs}
    found: dict[str, dict[str, str]] = {}
    for run in leaves:
        values = dict(run.values)
        if run.parent in by_id:
            inherited = by_id[run.parent].values.items()
            values = {n: it for n, it in inherited if n.startswith("params.")} | values
        for name, text in values.items():
            if not name.startswith(("tags.mlflow.", "attributes.")) or name in (
                "attributes.experiment", "attributes.run_name",
            ):  # fmt: skip
                found.setdefault(name, {})[run.id] = text
    metrics = {run.id: run.metrics for run in leaves}
    for name in {name for known in metrics.values() for name in known if SEED.search(name)}:
        found[f"metrics.{name}"] = {n: f"{it[name]:g}" for n, it in metrics.items() if name in it}
    return [Key(name, values) for name, values in sorted(found.items())]


def _varying(keys: Iterable[Key], taken: Iterable[str]) -> list[Key]:
    return [it for it in keys if len(it.distinct) > 1 and it.name not in set(taken)]


def _seed(keys: Sequence[Key], leaves: Sequence[ExternalRun]) -> Key | None:
    named = [it for it in keys if SEED.search(it.word) and it.is_numeric]
    if named:
        return min(
            named,
            key=lambda it: (len(it.distinct) < 2, it.word != "seed", it.name.count("."), it.name),
        )
    found = {
        run.id: it.group(1) for run in leaves if (it := re.search(SEED_IN_NAME, run.name, re.I))
    }
    return Key("attributes.run_name", found) if found else None


def _named(keys: Sequence[Key], words: Sequence[str], taken: Iterable[str]) -> Key | None:
    """The key of the likeliest word that varies; else the one that does not."""
    known = [it for it in keys if it.word in words and it.name not in set(taken)]
    return min(
        known,
        key=lambda it: (
            len(it.distinct) < 2, words.index(it.word), not it.name.startswith("params."), it.name
        ),
        default=None,
    )  # fmt: skip


def _row(keys: Sequence[Key], taken: set[str]) -> Key | None:
    if (found := _named(_varying(keys, taken), ROW, taken)) is not None:
        return found
    texts = [
        it for it in _varying(keys, taken)
        if not it.is_numeric and len(it.distinct) < len(it.values)
        and it.name != "attributes.run_name"
    ]  # fmt: skip
    if texts:
        return min(texts, key=lambda it: (len(it.distinct), it.name))
    return next((it for it in keys if it.name == "attributes.experiment"), None)


def _is_searched(key: Key, row: Key | None, dataset: Key | None) -> bool:
    """A parameter of several values within one row and dataset, that is not each run's own."""
    if not key.name.startswith("params.") and "." in key.name:
        return False
    if SEED.search(key.word) or len(key.distinct) < 2:
        return False
    if len(key.distinct) == len(key.values) and key.word not in SEARCHED:
        return False
    groups: dict[tuple[str | None, str | None], set[str]] = {}
    for run, text in key.values.items():
        place = (row.values.get(run) if row else None, dataset.values.get(run) if dataset else None)
        groups.setdefault(place, set()).add(text)
    return any(len(values) > 1 for values in groups.values())


def _text(value: object) -> str:
    """As YAML: what JSON writes is YAML."""
    return json.dumps(value, ensure_ascii=False)


def _some(key: Key) -> str:
    shown = ", ".join(key.distinct[:4]) + (", …" if len(key.distinct) > 4 else "")
    return f"{len(key.distinct)} value{'s' if len(key.distinct) > 1 else ''}: {shown}".replace(
        "\n", " "
    )


def _row_lines(row: Key | None) -> Iterator[str]:
    if row is None:
        yield f"  row: {CHOOSE}  # no key tells methods apart"
    else:
        yield f"  row: {_text(row.name)}  # ? {_some(row)}"


def _dataset_lines(dataset: Key | None) -> Iterator[str]:
    if dataset is not None:
        yield f"  dataset: {_text(dataset.name)}  # ? {_some(dataset)}"


def _seed_lines(seed: Key | None) -> Iterator[str]:
    if seed is None:
        yield "  # seed: no key looks like one; without it runs of a point are not paired"
    elif seed.name == "attributes.run_name":
        spec = f"{{key: attributes.run_name, pattern: {_text('(?i)' + SEED_IN_NAME)}}}"
        yield f"  seed: {spec}  # ? from names, {_some(seed)}"
    else:
        yield f"  seed: {_text(seed.name)}  # ? {_some(seed)}"


def _searched_lines(searched: Sequence[Key]) -> Iterator[str]:
    if searched:
        yield "  searched:  # ? they vary within a row and dataset; of equal scores the lower wins"
        for key in searched:
            yield f"    - {_text(key.name)}  # {_some(key)}"


def _state_lines(keys: Sequence[Key], leaves: Sequence[ExternalRun]) -> Iterator[str]:
    counts: dict[str, int] = {}
    for run in leaves:
        counts[run.status] = counts.get(run.status, 0) + 1
    if set(counts) - {"FINISHED"}:
        told = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
        yield f"  statuses: [FINISHED]  # of {told}: some clients never end their runs"
    for key in keys:
        complete = [it for it in key.distinct if "COMPLETE" in it.upper()]
        if key.word == "state" and complete and len(key.distinct) > 1:
            yield f"  only: {{{_text(key.name)}: {_text(complete)}}}  # ? {_some(key)}"


def _inherit_lines(leaves: Sequence[ExternalRun], runs: Sequence[ExternalRun]) -> Iterator[str]:
    by_id = {run.id: run for run in runs}
    for run in leaves:
        parent = by_id.get(run.parent)
        if parent and any(n.startswith("params.") and n not in run.values for n in parent.values):
            yield "  inherit: true  # parents have parameters that their children lack"
            return


def _metrics(leaves: Sequence[ExternalRun]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for run in leaves:
        for name in run.metrics:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def _select_lines(leaves: Sequence[ExternalRun], searched: Sequence[Key]) -> Iterator[str]:
    metrics = _metrics(leaves)
    named = [name for name in metrics if VALIDATION.search(name)]
    named.sort(key=lambda it: (bool(LOWER.search(it)), it))
    if named:
        mode = "min" if LOWER.search(named[0]) else "max"
        yield f"  select: {{metric: {_text(named[0])}, mode: {mode}, at: best}}  # ? by its name"
    elif searched:
        yield f"  select: {{metric: {CHOOSE}, mode: max, at: best}}  # none looks like validation"


def _rows(row: Key) -> Iterator[str]:
    if len(row.distinct) <= MOST:
        yield "rows:  # the order of the table, and its names"
        yield from (f"  {_text(it)}: {_text(it)}" for it in row.distinct)


def _columns(leaves: Sequence[ExternalRun], dataset: Key | None) -> Iterator[str]:
    metrics = _metrics(leaves)
    yield "# Metrics that runs have, and how many runs:"
    yield from (f"#   {_text(name)} ({n})" for name, n in list(metrics.items())[:MOST])
    yield "columns:  # which metric is a test, and which way is better, nothing in the runs says"
    names = dataset.distinct[:MOST] if dataset is not None else ["Test"]
    for name in names:
        column = re.sub(r"[^A-Za-z0-9 ()+._-]+", " ", name).strip(" -_.") or "Test"
        of = f"dataset: {_text(name)}, " if dataset is not None else ""
        yield f"  {_text(column)}: {{{of}metric: {CHOOSE}, higher_is_better: {CHOOSE}}}"


def _seeds(seed: Key | None) -> Iterator[str]:
    if seed is None:
        return
    found = [it for text in seed.distinct if isinstance(it := number_or_text(text), float)]
    numbers = sorted({int(it) for it in found if it == int(it)})
    if numbers and len(numbers) <= MOST:
        yield f"seeds: {{final: {_text(numbers)}}}  # of which each cell should have a score"
