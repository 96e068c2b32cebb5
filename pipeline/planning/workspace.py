"""The one place that knows a workspace's file names."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equigrid.errors import InputError, LockedError
from equigrid.files import is_locked, locked, too_long, write_atomically, write_derived
from equigrid.machine import expanded
from equigrid.own_parts.beside import importable
from equigrid.record import Record, TrialFiles
from equigrid.tracking.store import Store, sqlite_uri
from equigrid.trial import Trial, data_key

log = logging.getLogger("equigrid")

#: The origin of a search space that was submitted from another machine ends so.
SUBMITTED = " (submitted)"
#: Bytes of the path of a database; SQLite's own 512 are with what it adds to a name.
LONGEST_STORE = 500


@dataclass(frozen=True)
class Failure:
    """Why a trial was given up: it is not run again until asked for."""

    trial: Trial
    reason: str
    details: str
    attempts: int


class Workspace:
    """Everything an experiment writes lies below `root`; InputError where that is too long."""

    def __init__(self, root: Path) -> None:
        self.root = expanded(root).resolve()
        length = len(os.fsencode(self.root / "mlflow.db"))
        if fault := too_long(self.root):
            raise InputError(fault)
        if length > LONGEST_STORE and not os.environ.get("MLFLOW_TRACKING_URI"):
            raise InputError(
                f"{str(self.root)[:64]}…: its mlflow.db has a path of {length} bytes; SQLite takes "
                f"{LONGEST_STORE}: use another --workspace, or a server (MLFLOW_TRACKING_URI)"
            )

    def data_file(self, recipe: Mapping[str, Any]) -> Path:
        return (
            self.root / "data" / f"{recipe['builder'].replace(':', '.')}-{data_key(recipe)[:16]}.h5"
        )

    def cache_file(self, recipe: Mapping[str, Any]) -> Path:
        return self.root / "cache" / self.data_file(recipe).name

    def weights_file(self, key: str) -> Path:
        return self.root / "weights" / f"{key}.safetensors"

    @property
    def run_files(self) -> Path:
        """Further files of runs, in a folder by run key: what `artifacts()` of their parts gave."""
        return self.root / "files"

    def state_file(self, trial: Trial) -> Path:
        """How a training ended that differs in the number of epochs alone; may be deleted."""
        return self.root / "states" / trial.continuation_key

    def trial_files(self, trial: Trial) -> TrialFiles:
        key = trial.key
        running = self.root / "running" / key
        return TrialFiles(
            checkpoint=running / "checkpoint",
            previous_checkpoint=running / "checkpoint.previous",
            weights=self.weights_file(key),
            journal=self.journal_file(key),
            record=self.record_file(key),
            state=self.state_file(trial),
            artifacts=self.run_files / key,
            printed=self.printed_file(key),
        )

    def printed_file(self, key: str) -> Path:
        """What own code printed in a training of this key on Ray; may be deleted."""
        return self.root / "printed" / f"{key}.txt"

    def journal_file(self, key: str) -> Path:
        return self.root / "running" / key / "journal.jsonl"

    def journal(self, key: str) -> list[dict[str, float]]:
        """A line for each epoch so far of a key in training; empty where none has ended."""
        try:
            lines = self.journal_file(key).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        epochs = []
        for line in lines:
            try:
                epochs.append(json.loads(line))
            except ValueError:  # it is being written
                break
        return epochs

    def record_file(self, key: str) -> Path:
        return self.root / "records" / f"{key}.json"

    def record_keys(self) -> list[str]:
        """Of every record that is here."""
        return sorted(path.stem for path in self.record_file("").parent.glob("*.json"))

    def tables(self, name: str) -> Path:
        return self.root / "tables" / name

    def report(self, name: str) -> Path:
        return self.root / "reports" / name

    def gaps_file(self, name: str) -> Path:
        """Datasets that an experiment's last run could not have, and why."""
        return self.root / "results" / f"{name}.gaps.json"

    def _note(self, name: str) -> Path:
        """Which search space an experiment's name stands for here."""
        return self.root / "results" / f"{name}.search_space"

    def search_space_folder(self, name: str) -> Path | None:
        """Where the search space of an experiment's last run lies: its own parts are beside it."""
        noted = self._noted(name)
        return Path(noted["folder"]) if noted else None

    def search_space_file(self, name: str) -> Path | None:
        """The file of an experiment that was run here by its path; None where it is gone."""
        origin = (self._noted(name) or {}).get("origin", "")
        return Path(origin) if origin.startswith("/") and Path(origin).is_file() else None

    def import_own_parts(self, name: str) -> None:
        """Let an experiment's own parts be imported from where its search space lies, or from here.

        For what has a record and no search space.
        """
        noted = self.search_space_folder(name)
        here = [Path(it).resolve() for it in (".", "search_spaces")]
        for folder in reversed([*([noted] if noted else []), *here]):
            importable(folder)

    def take_name(self, name: str, folder: Path, origin: str) -> None:
        """From now on the tables and reports of this name are those of this search space."""
        note = {"folder": str(folder), "origin": origin, "root": str(self.root)}
        if self._noted(name) != note:
            write_derived(self._note(name), json.dumps(note, indent=1))

    def check_name(self, name: str, origin: str) -> None:
        """InputError where a name stands for another search space, whose table would be replaced.

        One that is gone from its place was moved, as was one whose workspace lies elsewhere now.
        """
        noted = self._noted(name)
        if noted is None or noted.get("origin", origin) == origin:
            return
        other, is_submitted = noted["origin"], noted["origin"].endswith(SUBMITTED)
        if noted.get("root") != str(self.root) or is_submitted != origin.endswith(SUBMITTED):
            return
        if other.startswith("/") and not is_submitted and not _is_another(other, origin):
            return
        raise InputError(
            f"{self.root}: the name {name} stands for {other}, whose table, report and MLflow "
            f"experiment {origin} would replace: rename the file, or take another --workspace (if "
            f"it is the same one, delete {self._note(name)})"
        )

    def _noted(self, name: str) -> dict[str, str] | None:
        """Before the origin was kept, a note was the folder alone."""
        try:
            text = self._note(name).read_text("utf-8")
            return dict(json.loads(text)) if text.startswith("{") else {"folder": text}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            log.warning("%s: damaged (%s); not used", self._note(name), error)
            return None

    def refusals_file(self, name: str) -> Path:
        """Records of an experiment that MLflow refused, with its reasons."""
        return self.root / "results" / f"{name}.refused.json"

    @property
    def record_index(self) -> Path:
        """Derived from the records, see equigrid.planning.index."""
        return self.root / "results" / "records.json"

    def tracked_cache(self, name: str) -> Path:
        """Derived from MLflow, see equigrid.tracking.cache."""
        return self.root / "results" / f"{name}.tracked.json"

    @property
    def external_runs_cache(self) -> Path:
        """Derived from stores that are only read, see equigrid.external_runs.mlflow_source."""
        return self.root / "results" / "external-runs"

    def tracked_caches(self) -> list[Path]:
        """Of every experiment that was looked at."""
        return sorted((self.root / "results").glob("*.tracked.json"))

    def store(self, experiment: str) -> Store:
        """Where an experiment, by its full name, is tracked."""
        refusals = self.refusals_file(experiment)
        return Store(self.tracking_uri, self.artifact_folder, experiment, refusals, self.run_files)

    @property
    def tune_folder(self) -> Path:
        return self.root / "tune"

    @property
    def tracking_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, else a SQLite file in the workspace."""
        given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
        return given or sqlite_uri(self.root / "mlflow.db")

    @property
    def artifact_folder(self) -> Path:
        return self.root / "artifacts"

    def claim(self, key: str) -> AbstractContextManager[None]:
        """The exclusive right to train a key; raises LockedError while another process has it."""
        return locked(self.root / "claims" / key, wait=False, label=_who())

    def running(self) -> set[str]:
        """The keys that some process trains at this moment."""
        folder = self.root / "running"
        keys = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {key for key in keys if is_locked(self.root / "claims" / key)}

    @contextmanager
    def building(self, path: Path) -> Iterator[None]:
        """The exclusive right to build a data file; waits for another builder to finish."""
        with locked(path.with_name(f".{path.name}.lock"), wait=True, label=_who()):
            for leftover in path.parent.glob(f".{path.name}.*.tmp"):  # of a builder that was killed
                leftover.unlink()
            yield

    @contextmanager
    def driver(self) -> Iterator[None]:
        """One `equigrid run` at a time; InputError names the other's host and pid."""
        try:
            with locked(self.root / "driver.lock", wait=False, label=_who()):
                yield
        except LockedError as other:
            raise InputError(
                f"{self.root}: in use by another run ({other}); wait for it or end it"
            ) from None

    def record(self, key: str) -> Record | None:
        """The durable record of a key; a damaged one is set aside, logged once, and None."""
        path = self.record_file(key)
        try:
            record = Record.load(path)
            if record.key != key:
                raise InputError(f"{path}: holds the record of {record.key[:12]}")
        except FileNotFoundError:
            return None
        except InputError as error:
            aside = path.with_suffix(".damaged")
            try:
                os.replace(path, aside)
            except OSError as refused:
                log.warning("%s; it cannot be set aside: %s", error, refused.strerror)
                return None
            log.warning("%s; set aside as %s, the trial will run again", error, aside.name)
            return None
        return record

    def keep_analysis(self, key: str, found: Mapping[str, Any]) -> None:
        """What the latent of a run carries, see equigrid.training.analysis."""
        write_atomically(self._analysis(key), json.dumps(found, indent=1, sort_keys=True) + "\n")

    def analysis(self, key: str) -> Mapping[str, Any] | None:
        """None where there is none, or a damaged one."""
        try:
            found: Mapping[str, Any] = json.loads(self._analysis(key).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("%s: damaged (%s); not shown", self._analysis(key), error)
            return None
        return found

    def _analysis(self, key: str) -> Path:
        return self.root / "analyses" / f"{key}.json"

    def failure(self, key: str) -> Failure | None:
        path = self._quarantine(key)
        if not path.exists():
            return None
        try:
            data = json.loads(path.read_text("utf-8"))
            trial = Trial.from_dict(data["trial"])
            return Failure(trial, data["reason"], data["details"], data["attempts"])
        except (ValueError, TypeError, KeyError, InputError) as error:
            log.warning("%s: damaged (%r); the trial may run again", path, error)
            return None

    def failures(self) -> dict[str, Failure]:
        """Every quarantined trial by run key."""
        folder = self._quarantine("").parent
        keys = sorted(path.stem for path in folder.glob("*.json")) if folder.is_dir() else []
        found = {key: self.failure(key) for key in keys}
        return {key: failure for key, failure in found.items() if failure is not None}

    def quarantine(self, failure: Failure) -> None:
        content = {
            "trial": failure.trial.to_dict(),
            "reason": failure.reason,
            "details": failure.details,
            "attempts": failure.attempts,
        }
        write_atomically(self._quarantine(failure.trial.key), json.dumps(content, indent=1))

    def release(self, key: str) -> None:
        """Lift a quarantine."""
        self._quarantine(key).unlink(missing_ok=True)

    def _quarantine(self, key: str) -> Path:
        return self.root / "quarantine" / f"{key}.json"


def _is_another(file: str, origin: str) -> bool:
    """Whether the file is still there, and by no other name the one of the origin."""
    there = os.path.exists(file)
    return there and not (os.path.exists(origin) and os.path.samefile(file, origin))


def _who() -> str:
    return f"host {platform.node()}, pid {os.getpid()}"
