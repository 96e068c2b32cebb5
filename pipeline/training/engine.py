"""What trains a trial, epoch by epoch, as `TrialRun` sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.record import Epoch
from equigrid.trial import Trial


class Engine(Protocol):
    """Trains what a trial names; TrialRun decides when it stops, keeps its files and the record.

    Constructed with a trial, its dataset and a device (`MakeEngine`). Around `train_epoch`,
    `validate` and `test` the global random generators draw from streams of the trial's own, so that
    no engine has to keep their state; what it draws when it is constructed is its own affair.
    Scores are plain numbers by name; one that is not finite is TrialRun's to judge.
    """

    @property
    def reads_epochs(self) -> bool:
        """Whether what it trained so far depends on how many epochs there will be."""

    @property
    def parameters(self) -> int:
        """How many numbers the model has."""

    @property
    def objective_parameters(self) -> int:
        """How many numbers are learned beside the model's."""

    def try_batch(self) -> None:
        """Take one batch through forward, loss and backward, and no step; of a new engine only.

        Raises whatever the parts raise, TrainingDivergedError where the loss is not finite.
        """

    def train_epoch(self, history: Sequence[Epoch]) -> dict[str, float]:
        """Train the epoch after `history`, the epochs before it; returns its training scores."""

    def validate(self) -> dict[str, float]:
        """Score the validation split with the present weights."""

    def test(self, split: str) -> dict[str, float]:
        """Score a test split with the present weights; never asked during a training."""

    def state(self) -> dict[str, Any]:
        """Return all that a training needs to go on: tensors and plain values, for a checkpoint.

        A checkpoint has them beside what is TrialRun's own, whose names are taken: key, history,
        best_epoch, best_weights, epoch_seconds, reads_epochs, started.
        """

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; further names in it are not the engine's."""

    def weights(self) -> dict[str, Tensor]:
        """Copy what a prediction needs, to the CPU: the file of weights has it."""

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Predict with what `weights` gave."""

    def artifacts(self) -> dict[str, bytes]:
        """Return further files to keep with the run, by name; asked once, at the end."""


#: Called as (trial, dataset, device).
MakeEngine = Callable[[Trial, Dataset, str], Engine]
