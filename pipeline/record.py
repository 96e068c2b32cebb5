"""What one training gave: plain data, durable before anything else is told of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from equigrid.errors import InputError
from equigrid.files import write_atomically
from equigrid.own_parts.source_code import SOURCE, fingerprint
from equigrid.trial import Trial

RECORD_SCHEMA = 1
#: Fields that records gained since: an older one has the default.
LATER = ("objective_parameters", "artifacts", "undefined")
#: Of an artifact: a file's name and no more.
ARTIFACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

#: Of settings within settings; Unix time in seconds up to which a date can be stored.
DEEPEST, LATEST = 50, 1e10

Epoch = dict[str, float]


@dataclass(frozen=True)
class Record:
    """A finished training and what was measured on it.

    >>> import equigrid
    >>> record = equigrid.open_experiment("quickstart").record("Ours/C4")
    >>> record.best_epoch <= len(record.history), sorted(record.test)
    (True, ['test', 'test_augmented'])

    key: the trial's run key.
    history: one mapping per epoch (1, 2, …) of metric names to values; empty for trivial rows.
    best_epoch: the first epoch with the best validation score; 0 for trivial rows.
    validation: the metrics of the best epoch.
    test: {split: {metric: value}}, None until a final evaluates the test splits.
    epoch_seconds: wall seconds of each epoch; started: Unix time. Never part of a table.
    weights_sha256: hash of the best weights' file, None where there are none.
    objective_parameters: of what the objective itself has learned; `parameters` are the model's.
    artifacts: SHA-256 by name of further files that the objective or the model left.
    undefined: {split: {score: "nan"}}: what was tested and is no number; None of it is in `test`.
    sources: texts of the parts from outside the package, by fingerprint and path.
    """

    trial: Trial
    key: str
    history: tuple[Epoch, ...]
    best_epoch: int
    validation: Epoch
    test: Mapping[str, Mapping[str, float]] | None
    parameters: int
    data_sha256: str
    weights_sha256: str | None
    environment: Mapping[str, str]
    started: float
    epoch_seconds: tuple[float, ...]
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    schema: int = RECORD_SCHEMA
    objective_parameters: int = 0
    artifacts: Mapping[str, str] = field(default_factory=dict)
    undefined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_json(self) -> str:
        """What came after the first records is left out where it is nothing."""
        content = asdict(self) | {"trial": self.trial.to_dict()}
        for name in LATER:
            if not content[name]:
                del content[name]
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> Record:
        """Read and check a record; InputError names the source and what is wrong with it."""
        try:
            data = json.loads(text)
            if data.get("schema") != RECORD_SCHEMA:
                raise InputError(f"schema {data.get('schema')!r}, expected {RECORD_SCHEMA}")
            data["trial"] = Trial.from_dict(data["trial"])
            data["history"] = tuple(data["history"])
            data["epoch_seconds"] = tuple(data["epoch_seconds"])
            record = cls(**data)
            record.check()
        except InputError as error:
            raise InputError(f"{source}: not a valid record: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{source}: not a valid record: {error!r}") from error
        return record

    def check(self) -> None:
        """Raise InputError where the parts contradict each other, or no later step could use them.

        Planning, tracking and tables take a record as it is: what comes from elsewhere ends here.
        """
        trial = self.trial
        settings = (trial.model, trial.objective, trial.data, trial.hyperparameters, trial.training)
        if not all(isinstance(part, dict) for part in (*settings, self.validation)):
            raise InputError("settings and scores are mappings")
        if max(map(_depth, settings)) > DEEPEST:
            raise InputError(f"settings nest deeper than {DEEPEST}")
        if trial.key != self.key:
            raise InputError(f"key {self.key[:12]} does not belong to its configuration")
        if not {"hardware", "git_commit"} <= self.environment.keys() or not all(
            isinstance(text, str) for text in self.environment.values()
        ):
            raise InputError("the environment lacks hardware or git_commit, or is not text")
        counts = self.parameters, self.objective_parameters
        if any(type(count) is not int for count in counts) or not isinstance(self.data_sha256, str):
            raise InputError("parameters is not a number, or data_sha256 not a hash")
        if not isinstance(self.weights_sha256, str | None):
            raise InputError("weights_sha256 is a hash, or null")
        if not all(
            ARTIFACT.fullmatch(name) and isinstance(digest, str)
            for name, digest in dict(self.artifacts).items()
        ):
            raise InputError("artifacts are hashes by the names of files")
        times = (self.started, *self.epoch_seconds)
        if not all(isinstance(t, int | float) and 0 <= t < LATEST for t in times):
            raise InputError("a time is not a number, or out of range")
        self._check_sources()
        self._check_scores()

    def _check_sources(self) -> None:
        if self.sources.keys() != set(self.trial.all_code.values()):
            raise InputError("its sources are not those of its parts' fingerprints")
        for digest, texts in self.sources.items():
            if not all(SOURCE.fullmatch(path) and isinstance(t, str) for path, t in texts.items()):
                raise InputError("a source has no proper path, or is no text")
            if fingerprint(texts) != digest:
                raise InputError(f"its sources do not have the fingerprint {digest[:12]}")

    def _check_scores(self) -> None:
        if len(self.epoch_seconds) != len(self.history):
            raise InputError("epoch_seconds and history differ in length")
        if not isinstance(self.test, dict | None) or self.test == {}:
            raise InputError("test is a mapping of splits, or null")
        if not all(
            isinstance(text, str) and name not in (self.test or {}).get(split, {})
            for split, texts in self.undefined.items()
            for name, text in texts.items()
        ):
            raise InputError("a score is defined and undefined, or not said how")
        if type(self.best_epoch) is not int:
            raise InputError(f"best epoch {self.best_epoch!r} is not a number")
        if self.history:
            if not 1 <= self.best_epoch <= len(self.history):
                raise InputError(f"best epoch {self.best_epoch} of {len(self.history)}")
            if self.history[self.best_epoch - 1] != dict(self.validation):
                raise InputError("the validation scores are not those of the best epoch")
            if (select := self.trial.training.get("select")) not in self.validation:
                raise InputError(f"no score {select!r} to select by")
        numbers = [value for epoch in self.history for value in epoch.values()]
        numbers += [value for scores in (self.test or {}).values() for value in scores.values()]
        numbers += [self.parameters, *self.validation.values()]
        if not all(isinstance(value, int | float) and _is_finite(value) for value in numbers):
            raise InputError("a score is not a finite number")

    def save(self, path: Path) -> None:
        write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Record:
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a valid record: {error}") from error
        return cls.from_json(text, str(path))


def _depth(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, parts), default=0)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


@dataclass(frozen=True)
class Result:
    """What tables and selection need of a finished training, read from a record or from MLflow.

    metrics: from outside the package, with the fingerprints of the code that measured them.
    undefined: a record's.
    """

    key: str
    validation: Mapping[str, float]
    test: Mapping[str, Mapping[str, float]] | None
    parameters: int
    device: str
    data_sha256: str
    metrics: Mapping[str, str] = field(default_factory=dict)
    undefined: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def score(self, split: str, metric: str) -> float | None:
        """None where it was not tested, or elsewhere and not on this split or for this metric."""
        return (self.test or {}).get(split, {}).get(metric)

    @classmethod
    def of(cls, record: Record) -> Result:
        return cls(
            record.key,
            record.validation,
            record.test,
            record.parameters,
            record.environment["hardware"],
            record.data_sha256,
            dict(record.trial.metrics),
            record.undefined,
        )


@dataclass(frozen=True)
class TrialFiles:
    """Where one trial keeps what it writes.

    state: how its training ended, for one of more epochs that is the same otherwise.
    artifacts: the folder of further files. printed: what code printed meanwhile, without terminal.
    """

    checkpoint: Path
    previous_checkpoint: Path
    weights: Path
    journal: Path
    record: Path
    state: Path
    artifacts: Path
    printed: Path

    @classmethod
    def below(cls, folder: Path) -> TrialFiles:
        """All in one folder: for a trial outside a workspace."""
        names = (
            "checkpoint", "checkpoint.previous", "weights.safetensors", "journal.jsonl",
            "record.json", "state", "artifacts", "printed.txt",
        )  # fmt: skip
        return cls(*(folder / name for name in names))
