"""What an objective has to keep."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from equigrid.lookup import objective_entry
from equigrid.record import Record, TrialFiles
from equigrid.testing.small import DIGITS, dataset_of, part, trial_of
from equigrid.training.run import TrialRun
from equigrid.training.torch_loop import TorchLoop
from equigrid.trial import Trial


class ObjectiveCase:
    """objective, model, dataset: as in a search space, small. point: the searched values."""

    objective: ClassVar[Any]
    point: ClassVar[Mapping[str, float]] = {"lr": 3e-3}
    model: ClassVar[Any] = {"small_cnn": {"width": 4, "latent": 8}}
    dataset: ClassVar[Mapping[str, Any]] = DIGITS

    def trial(self, epochs: int = 3) -> Trial:
        return trial_of(self.model, self.objective, self.point, self.dataset, epochs)

    def _train(self, folder: Path, stop_after: int | None = None) -> Record:
        """To the end; with a stop the run is begun again from its checkpoint."""
        trial, data, files = self.trial(), dataset_of(self.dataset), TrialFiles.below(folder)
        torch.set_num_threads(1)
        run = TrialRun(trial, data, "0" * 64, files, "cpu")
        while not run.done:
            run.run_epoch()
            if len(run.history) == stop_after:
                run = TrialRun(trial, data, "0" * 64, files, "cpu")
        return run.finish()

    def test_it_names_what_it_searches(self) -> None:
        assert set(self.point) == {"lr", *objective_entry(part(self.objective)[0]).searched}

    def test_training_moves_what_is_learned_and_ends_with_finite_scores(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            run = TrialRun(
                self.trial(1), dataset_of(self.dataset), "0" * 64, TrialFiles.below(Path(folder)),
                "cpu",
            )  # fmt: skip
            engine = run.engine
            assert isinstance(engine, TorchLoop)
            learned = [*engine.model.parameters()]
            learned += [] if engine.learned is None else engine.learned.parameters()
            before = [it.detach().clone() for it in learned]
            run.run_epoch()  # raises where a score is not finite
            assert any(
                not torch.equal(then, now) for then, now in zip(before, learned, strict=True)
            )

    def test_an_interrupted_training_ends_the_same_to_the_bit(self) -> None:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            through, resumed = self._train(Path(one)), self._train(Path(two), stop_after=1)
        assert resumed.history == through.history
        assert resumed.test == through.test
        assert resumed.weights_sha256 == through.weights_sha256
