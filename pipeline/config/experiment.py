"""The search-space schema. Every mistake is refused with file, line, key, value and remedy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from equigrid.config.reading import exists, located_error, mistake, packaged_file, read
from equigrid.config.resolution import ResolvedDataset, Row, resolve_dataset, resolve_row
from equigrid.config.schema import SearchSpace, known_places, refuse
from equigrid.config.yaml_lines import Located, merge
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError
from equigrid.files import canonical_json
from equigrid.lookup import metric_entry, published_names, score_kind
from equigrid.metrics.direction import is_share
from equigrid.own_parts.beside import importable
from equigrid.own_parts.commit import commit_of
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.source_code import code_of, fingerprints
from equigrid.trial import CODE_SINCE, TRAINING_VERSION, Role, Trial

#: The origin of a packaged search space; the variable in which a job has that of a submitted one.
PACKAGED, SUBMITTED_FROM = "the packaged one", "EQUIGRID_SUBMITTED_FROM"
#: Of an experiment: ten times what was ever measured to be planned and tracked well.
MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Experiment:
    """A search space with one profile applied, checked and resolved.

    file: the search space's, resolved. training_version: of the trials that it makes. given: the
    name or path it was loaded by.
    """

    name: str
    profile: str | None
    space: SearchSpace
    rows: Mapping[str, Row]
    datasets: Mapping[str, ResolvedDataset]
    file: Path
    training_version: int = TRAINING_VERSION
    given: str = ""

    def as_of(self, training_version: int) -> Experiment:
        """The same experiment as an older version of training had it: to read what it left."""
        return replace(self, training_version=training_version)

    @property
    def full_name(self) -> str:
        return f"{self.name}.{self.profile}" if self.profile else self.name

    @property
    def folder(self) -> Path:
        """Where its own parts lie."""
        return self.file.parent

    @property
    def origin(self) -> str:
        """What makes it another search space than one of the same name.

        The packaged ones are the same in every installation, and in a checkout. A submitted one
        lies in a new folder each time: where it was submitted from counts.
        """
        if submitted := os.environ.get(SUBMITTED_FROM):
            return submitted
        packaged = packaged_file(self.name)
        is_checkout = (self.folder.parent / "pipeline" / "trial.py").exists()
        is_packaged = is_checkout and self.folder.name == "search_spaces"
        if packaged.is_file() and (is_packaged or self.file.samefile(packaged)):
            return PACKAGED
        return str(self.file)

    @property
    def is_published_setting(self) -> bool:
        """The base settings and the profile of the published optimum count as the paper's."""
        return self.profile in (None, "optimum")

    @property
    def has_verdicts(self) -> bool:
        """Whether scores are tested against the published ones: in their setting, on such data."""
        return self.is_published_setting and self.space.verdicts

    def trial(
        self,
        row: str,
        dataset: str,
        point: Mapping[str, float],
        seed: int,
        role: Role,
        recipe: Mapping[str, Any],
    ) -> Trial:
        method = self.rows[row]
        return Trial(
            experiment=self.full_name,
            row=row,
            dataset=dataset,
            role=role,
            model=method.model_at(point),
            objective=method.objective,
            data=recipe,
            hyperparameters={name: float(value) for name, value in point.items()},
            seed=0 if method.trivial else seed,
            training={} if method.trivial else _training(method, point),
            training_version=self.training_version,
            code=method.code if self.knows_code else {},
            search_space_commit=commit_of(self.folder),
            metrics=self.own_metrics(dataset) if role == "final" else {},
        )

    def own_metrics(self, dataset: str) -> dict[str, str]:
        """Metrics from outside the package that columns of a dataset show, with fingerprints."""
        named = [it.metric for it in self.space.columns.values() if it.dataset == dataset]
        return fingerprints(*filter(is_external, named))

    @property
    def knows_code(self) -> bool:
        """Whether its trials say which code their parts from outside the package have."""
        return self.training_version >= CODE_SINCE

    @property
    def external_parts(self) -> list[str]:
        """The names of parts from outside the package."""
        named = [each.model["name"] for each in self.rows.values()]
        named += [each.objective["name"] for each in self.rows.values()]
        for it in self.datasets.values():
            named += [it.builder_name, it.group_name, it.builder.task]
            named += [*it.builder.metrics, *it.builder.validation_metrics]
        named += [column.metric for column in self.space.columns.values()]
        return sorted(set(filter(is_external, named)))

    def unseen_code(self) -> list[str]:
        """What of the code of its own parts could not be followed: no run key has it."""
        found = dict.fromkeys(it for name in self.external_parts for it in code_of(name).unseen)
        return [f"not followed, so in no run key what it brings: {it}" for it in found]

    def recipe(self, dataset: str, raw: RawStore) -> dict[str, Any]:
        """Everything that determines a dataset's arrays."""
        recipe = self.datasets[dataset].recipe(raw)
        return recipe if self.knows_code else {n: v for n, v in recipe.items() if n != "code"}

    def seeds(self, row: str, role: Role) -> list[int]:
        """A trivial row has nothing random and nothing to search: one final."""
        if self.rows[row].trivial:
            return [0] if role == "final" else []
        return getattr(self.space.seeds, role)  # type: ignore[no-any-return]

    def cell(self, text: str) -> tuple[str, str]:
        """Row and column of `ROW/COLUMN`; InputError says which there are."""
        row, _, column = (part.strip() for part in text.partition("/"))
        if row not in self.rows:
            raise InputError(f"{text!r}: no row {row!r}; there are: {', '.join(self.rows)}")
        columns = self.space.columns
        if column not in columns:
            raise InputError(f"{text!r}: no column {column!r}; there are: {', '.join(columns)}")
        return row, column

    def cells(self) -> Iterator[tuple[str, str]]:
        """(row, column) in the order of the file."""
        return itertools.product(self.rows, self.space.columns)

    def arms(self) -> list[tuple[str, str]]:
        """(row, dataset): what is trained together and selected over."""
        return list(itertools.product(self.rows, self.datasets))


def _training(method: Row, point: Mapping[str, float]) -> dict[str, Any]:
    decay = {name: float(point[name]) for name in ("weight_decay",) if name in point}
    return method.training.settings() | decay


def load_experiment(name: str, profile: str | None = None) -> Experiment:
    """Read, check (every profile, not only the chosen one) and resolve a search space."""
    path, located = read(name)
    importable(path.resolve().parent)  # where `module:object` is looked up
    if "runs" in located.value:
        raise InputError(
            f"{path}:{located.line(('runs',))}: runs: a table of runs that are tracked already, "
            "it trains nothing; for it there are: tables, status, show, compare, report, verify"
        )
    profiles = located.value.get("profiles", {})
    resolved = {None: _resolve(path, None, located)}
    if profiles and not isinstance(profiles, dict):
        raise InputError(f"{path}:{located.line(('profiles',))}: profiles: expected a mapping")
    for each in profiles:
        override = located.at("profiles", each)
        if not isinstance(override.value, dict):
            line = located.line(("profiles", each))
            raise InputError(
                f"{path}:{line}: profiles.{each}: {override.value!r}: expected a mapping"
            )
        resolved[each] = _resolve(path, each, merge(located, override), located)
    if profile not in resolved:
        known = ", ".join(profiles) or "none"
        raise InputError(f"{path}: no profile {profile!r}; it has: {known}")
    return replace(resolved[profile], given=name)


def _resolve(
    path: Path, profile: str | None, located: Located, base: Located | None = None
) -> Experiment:
    """base: what a profile was merged into."""

    def wrong(place: tuple[str | int, ...], message: str) -> InputError:
        if base is not None and len(place) > 1 and not exists(base.value, place[:1], place[1]):
            kind = str(place[0]).removesuffix("s")
            message = f"no such {kind} in the base, and as a new one: {message}"
        return located_error(path, located, place, message, profile)

    try:
        space = SearchSpace.model_validate(located.value)
        datasets = {name: resolve_dataset(name, spec) for name, spec in space.datasets.items()}
        training = located.value.get("training", {})
        rows = {
            name: resolve_row(name, space.rows, datasets, training)
            for name in _controls_behind_methods(space)
        }
        _check(space, rows, datasets)
    except (ValidationError, PydanticCustomError) as error:
        raise wrong(*mistake(error)) from None
    return Experiment(path.stem, profile, space, rows, datasets, path.resolve())


def _controls_behind_methods(space: SearchSpace) -> Iterator[str]:
    """The rows in the order of the file, but each control right behind its method."""
    for name, spec in space.rows.items():
        if spec.control_of not in space.rows:
            yield name
            yield from (row for row, it in space.rows.items() if it.control_of == name)


def _check(
    space: SearchSpace, rows: Mapping[str, Row], datasets: Mapping[str, ResolvedDataset]
) -> None:
    """What only the whole shows: references between parts, and duplicates."""
    columns: dict[tuple[str, str, str], str] = {}
    own_scores = {name for row in rows.values() for name in row.scores}
    for name, column in space.columns.items():
        place = ("columns", name)
        if column.dataset not in datasets:
            known = ", ".join(datasets)
            raise refuse(f"no dataset {column.dataset!r}; there are: {known}", *place, "dataset")
        builder = datasets[column.dataset].builder
        if column.split not in builder.test_splits:
            known = ", ".join(builder.test_splits)
            raise refuse(f"{column.split!r} is no test split; allowed: {known}", *place, "split")
        if is_external(column.metric):
            try:
                metric_entry(column.metric)
            except InputError as error:
                raise refuse(str(error), *place, "metric") from error
        elif column.metric not in builder.metrics and score_kind(column.metric) not in own_scores:
            allowed = ", ".join((*builder.metrics, *sorted(own_scores)))
            raise refuse(f"{column.metric!r}; allowed: {allowed}, or module:object",
                         *place, "metric")  # fmt: skip
        same = columns.setdefault((column.dataset, column.split, column.metric), name)
        if same != name:
            raise refuse(f"the same cell as column {same!r}", *place)
    if isinstance(space.published, dict):
        known_places(space.published, space.rows, space.columns)
    elif space.published is not None and space.published not in published_names():
        allowed = ", ".join(published_names())
        raise refuse(f"{space.published!r}; allowed: {allowed}", "published")
    if space.table.percent and not any(is_share(it.metric) for it in space.columns.values()):
        raise refuse("True: no column shows an accuracy or another share", "table", "percent")
    if space.reference is not None and space.reference not in rows:
        raise refuse(f"no row {space.reference!r}; there are: {', '.join(rows)}", "reference")
    unused = set(datasets) - {column.dataset for column in space.columns.values()}
    if unused:
        raise refuse("no column shows this dataset", "datasets", min(unused))
    trials = 0
    for name, row in rows.items():
        seeds = 0 if row.trivial else len(space.seeds.grid)
        trials += sum(map(len, row.grids.values())) * seeds + len(space.seeds.final) * len(datasets)
        if trials > MOST_TRIALS:
            raise refuse(f"with this row there are {trials} trials; at most {MOST_TRIALS}",
                         "rows", name)  # fmt: skip
    methods: dict[str, str] = {}
    for name, row in rows.items():
        identity = canonical_json(
            [dict(row.model), dict(row.objective), dict(row.grids), row.training.settings()]
        )
        same = methods.setdefault(identity, name)
        if same != name:
            raise refuse(f"the same method and grid as row {same!r}", "rows", name)
    for dataset in datasets.values():
        scores = [f"val_{metric}" for metric in (*dataset.builder.validation_metrics, "loss")]
        if space.training.select not in scores:
            raise refuse(
                f"{space.training.select!r}; allowed: {', '.join(scores)}", "training", "select"
            )
    for name, dataset in datasets.items():
        builder = dataset.builder
        for method_name, method in rows.items():
            size = method.training.batch_size
            if size > builder.train_size and not method.trivial:
                own_size = "batch_size" in space.rows[method_name].training
                own = ("rows", method_name) if own_size else ()
                raise refuse(
                    f"{size}: dataset {name} has {builder.train_size} training samples",
                    *own, "training", "batch_size",
                )  # fmt: skip
