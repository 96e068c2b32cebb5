"""An experiment in its workspace: the one object that knows both."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from equigrid.config.experiment import Experiment
from equigrid.config.reading import find
from equigrid.datasets.raw import RawStore, short_checksum
from equigrid.errors import InputError, StoreError
from equigrid.files import write_atomically
from equigrid.planning.index import RecordIndex
from equigrid.planning.plan import Arm, Gap, Plan, grid_trials, make_plan
from equigrid.planning.workspace import Workspace
from equigrid.record import Record, Result
from equigrid.tracking.cache import last_known, load_tracked, refresh
from equigrid.tracking.look import look
from equigrid.tracking.store import Store, Tracked, read_refusals
from equigrid.trial import FILE_NAME, Trial, data_key

log = logging.getLogger("equigrid")

Recipes = Mapping[str, Mapping[str, Any]]


def place_of(name: str, profile: str | None, workspace: Workspace) -> str:
    """A search space's name, or the path of one that was run in the workspace by its path."""
    try:
        find(name)
    except InputError:
        if not FILE_NAME.fullmatch(name):
            raise
        known = workspace.search_space_file(f"{name}.{profile}" if profile else name)
        if known is None:
            raise
        return str(known)
    return name


class Ledger:
    """What an experiment wants, what its workspace and MLflow have, and so what is missing.

    Records are read once, when they are first asked for. What ends after that the ledger is told
    (`finished`, `failed`), and it plans from memory. Raises InputError where the experiment's name
    stands for another search space in the workspace.
    """

    def __init__(self, experiment: Experiment, workspace: Workspace) -> None:
        self.experiment, self.workspace = experiment, workspace
        workspace.check_name(experiment.full_name, experiment.origin)
        self.store: Store = workspace.store(experiment.full_name)
        self.raw = RawStore(beside=experiment.folder)
        self._data: tuple[Recipes, Mapping[str, Gap]] | None = None
        self._grids: dict[int, Mapping[Arm, tuple[Trial, ...]]] = {}
        self._told: set[str] = set()

    # Results

    @cached_property
    def index(self) -> RecordIndex:
        return RecordIndex(self.workspace)

    @cached_property
    def failures(self) -> dict[str, str]:
        """Why trials were given up, by run key."""
        return {key: failure.reason for key, failure in self.workspace.failures().items()}

    def reread(self) -> None:
        """Forget what was read: another process may have ended trials, or built data, since."""
        self.__dict__.pop("index", None)
        self.__dict__.pop("failures", None)
        self.__dict__.pop("_raw_of_records", None)
        self._data = None
        self._grids.clear()

    def finished(self, record: Record) -> None:
        """A record was written into the workspace."""
        self.index.add(record)
        self.failures.pop(record.key, None)

    def bring_home(self, run_id: str) -> None:
        """Fetch the record of an MLflow run into the workspace; InputError where it has none."""
        from equigrid.tracking import query

        with tempfile.TemporaryDirectory() as folder:
            record = query.fetch_record(self.store, run_id, Path(folder))
        record.save(self.workspace.record_file(record.key))
        self.finished(record)

    def fetch_missing(self) -> None:
        """Bring home the records of trials that MLflow has and the workspace lacks."""
        plan = self.plan()
        if not plan.missing("grid") and not plan.missing("final"):
            return
        tracked = self.tracked()
        if tracked is None:
            return
        runs: dict[str, str] = {}
        for (_, _, role, key), run in tracked.runs.items():
            if run.result is not None and (role == "final" or key not in runs):
                runs[key] = run.run_id  # a final's record holds the tests too
        for wanted in ("grid", "final"):
            # The finals are known only after the grid's records are home.
            for trial in self.plan().missing(wanted):
                if trial.key not in runs:
                    continue
                try:
                    self.bring_home(runs[trial.key])
                except InputError as error:
                    log.warning("%s; the trial will run again", error)

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial was given up."""
        self.failures[trial.key] = reason

    def retry_failed(self) -> None:
        """Lift the quarantine of every trial."""
        for key in self.failures:
            self.workspace.release(key)
        self.failures.clear()

    # Data

    @property
    def official_recipes(self) -> Recipes:
        """Every dataset's; a raw file that is not here yet counts as the official one.

        Where no record here is of the official one, and all are of one other, it counts as that.
        """
        return self._recipes(self.experiment)

    @property
    def recipes(self) -> Recipes:
        """Of the datasets that there can be."""
        return self._known_data()[0]

    @property
    def gaps(self) -> Mapping[str, Gap]:
        """Why there cannot be the others."""
        return self._known_data()[1]

    def keep_data(self, recipes: Recipes, gaps: Mapping[str, Gap]) -> None:
        """What stages 1 and 2 made, and could not make: the next commands say the same."""
        self._data = dict(recipes), dict(gaps)
        self._grids.clear()
        path = self.workspace.gaps_file(self.experiment.full_name)
        if gaps:
            content = {name: asdict(gap) for name, gap in gaps.items()}
            write_atomically(path, json.dumps(content, indent=1), durable=False)
        else:
            path.unlink(missing_ok=True)

    def _known_data(self) -> tuple[Recipes, Mapping[str, Gap]]:
        if self._data is None:
            self._data = self._data_of(self.experiment)
        return self._data

    def _recipes(self, experiment: Experiment) -> dict[str, Mapping[str, Any]]:
        raw = RawStore(self.raw.folder, self._raw_of_records, experiment.folder)
        return {name: experiment.recipe(name, raw) for name in experiment.datasets}

    @cached_property
    def _raw_of_records(self) -> dict[str, str]:
        """Checksums of raw files that are not here, and records are of others than the official."""
        trained_on, found = self.index.raw_files, dict[str, str]()
        for dataset in self.experiment.datasets.values():
            for file in dataset.builder.raw_files:
                known = trained_on.get(file.name, set())
                if not known or file.official in known or self.raw.place(file).exists():
                    continue
                if len(known) == 1:
                    (found[file.name],) = known
                log.warning(
                    "%s is not in %s; the records here were trained on another file (%s) than the "
                    "official one (%s), which a run fetches, to train anew; %s",
                    file.name,
                    self.raw.folder,
                    " and ".join(sorted(map(short_checksum, known))),
                    short_checksum(file.official) or "its checksum is not known",
                    "they are shown" if len(known) == 1 else "none of them is shown",
                )
        return found

    def _data_of(self, experiment: Experiment) -> tuple[Recipes, Mapping[str, Gap]]:
        """Recipes; and of those that the last run could not make, why, if that still holds."""
        recipes, gaps = self._recipes(experiment), dict[str, Gap]()
        path = self.workspace.gaps_file(experiment.full_name)
        try:
            said = json.loads(path.read_text("utf-8")) if path.exists() else {}
            # Before failures of a builder were kept, a gap was its reason alone.
            known = {
                n: Gap(**it) if isinstance(it, dict) else Gap(str(it)) for n, it in said.items()
            }
        except (ValueError, TypeError, AttributeError) as error:
            log.warning("%s: damaged (%s); not used", path, error)
            known = {}
        for name in known.keys() & recipes.keys():
            gap, recipe = known[name], recipes[name]
            if gap.data_key is None:
                files = experiment.datasets[name].builder.raw_files
                absent = any(not self.raw.place(file).exists() for file in files)
                holds = absent and not self.workspace.data_file(recipe).exists()
            else:
                cached = self.workspace.cache_file(recipe).exists()
                holds = gap.data_key == data_key(recipe) and not cached
            if holds:
                gaps[name] = gap
                del recipes[name]
        return recipes, gaps

    # Plans

    def plan(self) -> Plan:
        """As the records have it, of today's version of training."""
        return self._plan(self.experiment, self.recipes, self.gaps, None)

    def full_plan(self) -> Plan:
        """Of every dataset, whatever the last run could not make; with what MLflow holds."""
        return self._plan(self.experiment, self.official_recipes, {}, self.tracked())

    def known(self) -> Plan:
        """As the records have it, and MLflow where a record is not here."""
        return self.known_with(self.tracked())

    def known_with(self, tracked: Tracked | None) -> Plan:
        """As the records have it, and `tracked` where a record is not here."""

        def make(wanted: Experiment) -> Plan:
            return self._plan(wanted, *self._data_for(wanted), tracked)

        return self._of_newest_version(make)

    def from_mlflow(self) -> Plan:
        """As the tracked runs have it; no record of the workspace is read."""
        try:
            tracked = refresh(self.store, self._tracked_cache)
        except StoreError as error:
            raise InputError(f"MLflow cannot be read: {error}") from error

        def make(wanted: Experiment) -> Plan:
            recipes, gaps = self._data_for(wanted)
            grid = self._grid(wanted, recipes)
            return make_plan(wanted, recipes, tracked.results, tracked.failures, gaps, grid)

        return self._of_newest_version(make)

    def _data_for(self, wanted: Experiment) -> tuple[Recipes, Mapping[str, Gap]]:
        return self._known_data() if wanted is self.experiment else self._data_of(wanted)

    def _of_newest_version(self, make: Callable[[Experiment], Plan]) -> Plan:
        """Of today's training version; where only an older one left results, of that one."""
        current = make(self.experiment)
        if not current.has_results:
            for version in range(self.experiment.training_version - 1, 0, -1):
                older = make(self.experiment.as_of(version))
                if older.has_results:
                    return older
        return current

    def _grid(self, wanted: Experiment, recipes: Recipes) -> Mapping[Arm, tuple[Trial, ...]]:
        """Hashing what determines 10 000 trials takes a second: once for each version."""
        version = wanted.training_version
        if version not in self._grids or {d for _, d in self._grids[version]} != set(recipes):
            self._grids[version] = grid_trials(wanted, recipes)
        return self._grids[version]

    def _plan(
        self,
        wanted: Experiment,
        recipes: Recipes,
        gaps: Mapping[str, Gap],
        tracked: Tracked | None,
    ) -> Plan:
        recorded = self.index.results
        results: dict[str, Result] = dict(recorded)
        for key, result in (tracked.results if tracked else {}).items():
            if key not in results or results[key].test is None:
                results[key] = result
        grid = self._grid(wanted, recipes)
        plan = make_plan(wanted, recipes, results, dict(self.failures), gaps, grid)
        refused = read_refusals(self.workspace.refusals_file(wanted.full_name))
        return replace(plan, recorded=recorded, tracked=tracked, refused=refused)

    # What MLflow holds

    @property
    def _tracked_cache(self) -> Path:
        return self.workspace.tracked_cache(self.experiment.full_name)

    def look(self) -> None:
        """Say once, before any work, what keeps MLflow from taking records.

        Raises InputError where MLFLOW_TRACKING_URI is none that it takes. The workspace's own file
        is looked at where it is read.
        """
        if self.store.database is not None:
            return
        try:
            look(self.store)
        except StoreError as error:
            self._tell(error, "used", "what it lacks is sent by a later run")

    def tracked(self) -> Tracked | None:
        """What MLflow holds; where it cannot be read, what it held last, or None; logged once."""
        try:
            return load_tracked(self.store, self._tracked_cache)
        except StoreError as error:
            kept = last_known(self._tracked_cache)
            instead = "the workspace alone" if kept is None else "what it held when last read"
            self._tell(error, "read", f"going by {instead}")
            return kept

    def _tell(self, error: StoreError, what: str, instead: str) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            log.warning("MLflow cannot be %s (%s); %s", what, error, instead)
