"""One training, fully resolved: a small frozen value whose run key is its identity."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from equigrid.errors import InputError
from equigrid.files import canonical_json, sha256

#: Increment when the shape of the canonical configuration changes.
SCHEMA = 1
#: Increment when the meaning of training changes: the same configuration gives another result.
TRAINING_VERSION = 2
#: From here on trials say which code their parts from outside the package have.
CODE_SINCE = 2

#: Of rows, columns and datasets; of files, experiments and profiles; of parts of a search space.
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9 ()+._-]{0,62}[A-Za-z0-9()+._-])?")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
COMPONENT = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}(:[A-Za-z_][A-Za-z0-9_]{0,63})?")

#: The same for people.
FILE_NAMES = "1 to 64 letters, digits, _ and -"
COMPONENTS = "a name, or module:object of at most 128 and 64 letters, digits and _"

Role = Literal["grid", "final"]


def shown(name: str) -> str:
    """A name in a message: of one that is too long its beginning, and how long it is."""
    return repr(name) if len(name) <= 64 else f"{name[:32]!r}… ({len(name)} characters)"


@dataclass(frozen=True)
class Trial:
    """row × dataset × grid point × seed, with everything that determines the training.

    experiment, row, dataset, role: names, not part of the run key.
    model, objective, training: settings with all defaults filled in; the first two have a `name`.
    data: the recipe (builder, version, parameters, SHA-256 of the raw files).
    hyperparameters: the searched values; those of the model and of weight decay are in `model` and
    `training` too.
    training_version: of what training means. code: fingerprints of the model and the objective
    where they come from outside the package, by name; the recipe has those of the data.
    metrics: of a final, those of its tests that come from outside the package, with fingerprints;
    no part of the run key: they are measured on the same weights.
    search_space_commit: git's, of the search space's folder; no part of the run key.
    """

    experiment: str
    row: str
    dataset: str
    role: Role
    model: Mapping[str, Any]
    objective: Mapping[str, Any]
    data: Mapping[str, Any]
    hyperparameters: Mapping[str, float]
    seed: int
    training: Mapping[str, Any]
    training_version: int = TRAINING_VERSION
    code: Mapping[str, str] = field(default_factory=dict)
    search_space_commit: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """Everything that determines the training, and nothing else."""
        configuration = {
            "schema": SCHEMA,
            "training_version": self.training_version,
            "model": dict(self.model),
            "objective": dict(self.objective),
            "data": dict(self.data),
            "hyperparameters": _without_no_decay(self.hyperparameters),
            "seed": self.seed,
            "training": _without_no_decay(self.training),
        }
        return configuration | ({"code": dict(self.code)} if self.code else {})

    @cached_property
    def all_code(self) -> dict[str, str]:
        """Fingerprints of every part from outside the package, the metrics included."""
        return {**self.training_code, **self.metrics}

    @property
    def training_code(self) -> dict[str, str]:
        """Of those that determine the training, the data included."""
        return {**self.data.get("code", {}), **self.code}

    @property
    def continuation_key(self) -> str:
        """The same for trials that differ in the number of epochs alone."""
        training = {name: it for name, it in self.training.items() if name != "epochs"}
        return sha256(canonical_json({**self.configuration, "training": training}).encode())

    @property
    def settings_key(self) -> str:
        """The same for trials that differ in their parts' code or in what training means alone."""
        data = {name: value for name, value in self.data.items() if name != "code"}
        left_out = ("training_version", "code")
        kept = {name: it for name, it in self.configuration.items() if name not in left_out}
        return sha256(canonical_json({**kept, "data": data}).encode())

    @cached_property
    def key(self) -> str:
        """The run key: SHA-256 of the canonical JSON of the configuration."""
        return sha256(canonical_json(self.configuration).encode())

    @property
    def arm(self) -> tuple[str, str]:
        """The row and dataset: what selection chooses over."""
        return self.row, self.dataset

    def to_dict(self) -> dict[str, Any]:
        """What came after the first trials is left out where it is nothing."""
        content = asdict(self)
        if not self.metrics:
            del content["metrics"]
        return content

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """Raises InputError where the mapping is not a trial's; safe for files from elsewhere.

        Before trials said so, training had its first version.
        """
        try:
            trial = cls(**{"training_version": 1, **data})
            trial._check()
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"not a trial: {error}") from error
        return trial

    def _check(self) -> None:
        """Names become paths and tags, settings become the key: raise ValueError for any other."""
        for name in (self.row, self.dataset):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name")
        if not all(FILE_NAME.fullmatch(part) for part in self.experiment.split(".", 1)):
            raise ValueError(f"{self.experiment!r} is not an experiment's name")
        if self.role not in ("grid", "final"):
            raise ValueError(f"role {self.role!r}; allowed: grid, final")
        if not COMPONENT.fullmatch(self.data["builder"]):
            raise ValueError(f"builder {self.data['builder']!r} is not a name")
        for name, digest in self.all_code.items():
            if not COMPONENT.fullmatch(name) or not DIGEST.fullmatch(digest):
                raise ValueError(f"code {name!r}: {digest!r} is not a SHA-256")
        if type(self.training_version) is not int or not isinstance(self.search_space_commit, str):
            raise ValueError("the training's version is an integer, the commit a text")
        if type(self.seed) is not int or any(
            type(value) is not float for value in self.hyperparameters.values()
        ):
            raise ValueError("the seed is an integer, hyperparameters are floats")
        for part in (self.model, self.objective):
            if not isinstance(part["name"], str):
                raise ValueError(f"{part['name']!r} is not a name")
        len(self.key), len(self.training)

    def describe(self) -> str:
        """A short name for people: `Ours / C4  lr=0.001 λ=1  seed 0`."""
        return f"{self.row} / {self.dataset}  {self.point()}  seed {self.seed}"

    def point(self) -> str:
        return point_text(self.hyperparameters)


def _without_no_decay(settings: Mapping[str, Any]) -> dict[str, Any]:
    """No weight decay, given as 0 or not at all, is one training."""
    return {n: it for n, it in settings.items() if n != "weight_decay" or it != 0}


def point_text(point: Mapping[str, float | str]) -> str:
    """The searched values for people: `lr=0.001 λ=1`."""
    values = {n: it if isinstance(it, str) else f"{it:g}" for n, it in point.items()}
    return " ".join(f"{symbol(name)}={values[name]}" for name in in_order(point))


def in_order(names: Iterable[str]) -> list[str]:
    """Names of searched values as people read them: the learning rate, then by the alphabet."""
    return sorted(names, key=lambda name: (name != "lr", name))


def symbol(name: str) -> str:
    """`lambda` → `λ`: a Greek letter's name stands for the letter."""
    try:
        return unicodedata.lookup(f"GREEK SMALL LETTER {'LAMDA' if name == 'lambda' else name}")
    except KeyError:
        return name


def data_key(recipe: Mapping[str, Any]) -> str:
    """The identity of a data recipe: names its files."""
    return sha256(canonical_json(dict(recipe)).encode())
