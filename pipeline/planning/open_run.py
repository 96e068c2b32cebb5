"""The one way from a workspace's files to a dataset, and to what a run has trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from equigrid.datasets.recipe import builder_of, cache_identity, data_identity
from equigrid.datasets.store import Arrays, read_arrays
from equigrid.errors import DamagedFileError, InputError
from equigrid.own_parts.user_errors import users_code
from equigrid.planning.workspace import Workspace
from equigrid.record import Record
from equigrid.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

    from equigrid.datasets.resident import Dataset


def open_arrays(
    workspace: Workspace,
    recipe: Mapping[str, Any],
    base_sha256: str | None = None,
    cache_sha256: str | None = None,
) -> Arrays:
    """The base arrays and the cache of a dataset, mapped.

    A file whose hash is given is taken by its label; of any other the content is hashed.
    Raises DamagedFileError.
    """
    base, found = read_arrays(
        workspace.data_file(recipe), data_identity(recipe), expected_hash=base_sha256
    )
    cache, _ = read_arrays(
        workspace.cache_file(recipe),
        cache_identity(recipe, found),
        expected_hash=cache_sha256,
    )
    return {**base, **cache}


def resident(recipe: Mapping[str, Any], arrays: Arrays, device: str) -> Dataset:
    """A recipe's dataset on a device; InputError where code from outside the package fails."""
    builder = builder_of(recipe)
    with users_code(recipe["builder"]):
        return builder.resident(arrays, device)


def open_dataset(
    workspace: Workspace,
    recipe: Mapping[str, Any],
    device: str = "cpu",
    base_sha256: str | None = None,
    cache_sha256: str | None = None,
) -> Dataset:
    """A dataset from a workspace's files; hashes and errors as of `open_arrays` and `resident`."""
    return resident(recipe, open_arrays(workspace, recipe, base_sha256, cache_sha256), device)


@dataclass(frozen=True)
class KeptRun:
    """What a workspace has of a finished training, read where it is asked for."""

    record: Record
    workspace: Workspace

    def artifact(self, name: str) -> bytes | None:
        """A further file that the run left beside its weights; None where it is not here."""
        path = self.workspace.run_files / self.record.key / name
        return path.read_bytes() if name in self.record.artifacts and path.exists() else None


@dataclass(frozen=True)
class OpenRun:
    """A finished training: its record, its data, and its model with the best weights.

    >>> import equigrid
    >>> run = equigrid.open_experiment("quickstart").open_run("Ours/C4")
    >>> outputs, targets = run.predict("test_augmented")
    >>> outputs.shape == (len(targets), run.dataset.outputs)
    True
    >>> sorted(run.evaluate("test"))
    ['accuracy', 'loss']
    """

    record: Record
    dataset: Dataset
    model: Any
    device: str

    @property
    def trial(self) -> Trial:
        return self.record.trial

    def predict(self, split: str) -> tuple[Tensor, Tensor]:
        """Outputs and targets for a whole split, as a test scores them; KeyError for no split."""
        from equigrid.training.evaluation import predictions

        if split not in self.dataset.sources:
            raise KeyError(f"{split!r}; there are: {', '.join(self.dataset.sources)}")
        return predictions(self.model, self.dataset, split, self.device)

    def evaluate(self, split: str) -> dict[str, float]:
        """The loss and the dataset's metrics on a split."""
        from equigrid.training.evaluation import evaluate

        return evaluate(self.model, self.dataset, split, self.device)


def open_run_or_refuse(workspace: Workspace, record: Record) -> OpenRun:
    """As `open_run`, for a command: InputError where it cannot be opened."""
    try:
        return open_run(workspace, record)
    except (DamagedFileError, OSError, ValueError) as error:
        raise InputError(f"{record.trial.describe()}: cannot be opened: {error}") from error


def open_run(workspace: Workspace, record: Record, device: str = "cpu") -> OpenRun:
    """What a run trained and on what.

    Raises DamagedFileError where the data files are not there or not sound, OSError where its
    weights are not, ValueError where they are not weights.
    """
    # torch takes a second to import.
    from equigrid.training.model import trained_model

    recipe, trained_on = record.trial.data, record.data_sha256
    dataset = open_dataset(workspace, recipe, device, cache_sha256=trained_on)
    model = trained_model(record.trial, dataset, workspace.weights_file(record.key), device)
    return OpenRun(record, dataset, model, device)
