"""The packaged engine: minibatch training of a network on an objective, in torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from equigrid.datasets.resident import Dataset
from equigrid.errors import TrainingDivergedError
from equigrid.lookup import load, objective_entry
from equigrid.metrics.metric import Scores
from equigrid.objectives.batch import Batch, Step
from equigrid.objectives.latents import latent_shape
from equigrid.objectives.regular import LatentAction
from equigrid.objectives.task import Loss, task_named, with_penalties
from equigrid.record import Epoch
from equigrid.training.evaluation import evaluate, metrics_of, probe, validate
from equigrid.training.model import OBJECTIVE, build_model, of_model, of_objective, settings
from equigrid.training.optimisation import learning_rate, make_optimiser
from equigrid.training.precision import autocast, in_single_precision
from equigrid.training.streams import seeded, stream
from equigrid.trial import Trial


def epoch_draws(dataset: Dataset, seed: int, epoch: int) -> dict[str, torch.Tensor]:
    """Draw for every training sample the elements a and g and the draws of artefacts: [samples]."""
    size, order, pairs = dataset.size("train"), dataset.group.order, dataset.pairs
    bounds = {
        "augmentation": order, "pair": order,
        "first draw": dataset.draws, "second draw": dataset.draws,
    }  # fmt: skip
    found = {
        name: torch.randint(bound, (size,), generator=stream(seed, name, epoch))
        for name, bound in bounds.items()
    }
    if pairs.weights is not None:
        weights = torch.tensor(pairs.weights, dtype=torch.float64)
        source = stream(seed, "pair", epoch)
        found["pair"] = torch.multinomial(weights, size, replacement=True, generator=source)
    if not pairs.moves_first:
        found["augmentation"] = torch.zeros_like(found["augmentation"])
    if pairs.shares_draws:
        found["second draw"] = found["first draw"]
    return found


class TorchLoop:
    """Trains a trial's network on its objective; an `Engine`.

    Of a trial without training (a trivial row) it is the predictor alone, to be tested.
    """

    def __init__(self, trial: Trial, dataset: Dataset, device: str) -> None:
        self.trial, self.dataset, self.device = trial, dataset, device
        self.reads_epochs = False
        self.model = build_model(trial, dataset, device)
        self.objective: Any = None
        self.learned: torch.nn.Module | None = None
        if trial.training:
            with seeded(device, trial.seed, "preparation"):
                self._prepare()

    def _prepare(self) -> None:
        entry = objective_entry(self.trial.objective["name"])
        self.objective = load(entry.target)(
            self.trial.hyperparameters, **settings(self.trial.objective)
        )
        prepare = getattr(self.objective, "prepare", None)
        self.learned = prepare(self.model, self.dataset) if prepare else None
        parameters = list(self.model.parameters())
        if self.learned is not None:
            self.learned.to(self.device)
            parameters += self.learned.parameters()
        self.optimiser = make_optimiser(self.trial, parameters)
        self.composition = torch.from_numpy(self.dataset.composition.copy()).to(self.device)
        self.action = self._measured_action() if "val" in self.dataset.views else None

    def _measured_action(self) -> Any:
        """The objective's or model's own, else the regular one where the latent allows it."""
        for part in (self.objective, self.model):
            if hasattr(part, "latent_action"):
                return part.latent_action
        shape = latent_shape(self.model, self.dataset)  # what encode raises is the trial's failure
        try:
            return LatentAction(self.dataset.group, shape, torch.device(self.device))
        except ValueError:  # the group has no regular representation on such a latent
            return None

    @property
    def parameters(self) -> int:
        return sum(value.numel() for value in self.model.parameters())

    @property
    def objective_parameters(self) -> int:
        learned = [] if self.learned is None else self.learned.parameters()
        return sum(value.numel() for value in learned)

    def train_epoch(self, history: Sequence[Epoch]) -> dict[str, float]:
        number = len(history) + 1
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = learning_rate(self.trial, history)
        self.model.train()
        scores = self._train(number)
        if hasattr(self.model, "watch"):
            self.model.watch(number)
        return scores

    def _train(self, number: int) -> dict[str, float]:
        sums: dict[str, torch.Tensor] = {}
        measured, count = Scores(metrics_of(self.dataset)), 0
        for batch in self._batches(number):
            loss = self._backward(batch)
            self.optimiser.step()
            length = len(batch.rows)
            for name, value in (("loss", loss.total.detach()), *loss.terms.items()):
                sums[name] = sums.get(name, 0.0) + value.double() * length
            if loss.outputs is not None:
                measured.update(in_single_precision(loss.outputs.detach()), batch.y)
            count += length
        scores = {name: float(value) / count for name, value in sums.items()}
        return scores | (measured.compute() if loss.outputs is not None else {})

    def _batches(self, number: int) -> Iterator[Batch]:
        """The minibatches of an epoch, in its order and with its draws."""
        dataset, seed = self.dataset, self.trial.seed
        size = dataset.size("train")
        shuffled = torch.randperm(size, generator=stream(seed, "order", number)).to(self.device)
        draws = epoch_draws(dataset, seed, number)
        draws = {name: found.to(self.device) for name, found in draws.items()}
        length, epochs = int(self.trial.training["batch_size"]), int(self.trial.training["epochs"])
        parts = torch.split(torch.arange(size, device=self.device), length)
        for step, places in enumerate(parts, 1):
            if len(places) == 1 and size > 1:
                continue  # batch normalisation has no variance of a single sample
            yield Batch(
                dataset,
                shuffled[places],
                draws["augmentation"][places],
                draws["pair"][places],
                draws["first draw"][places],
                draws["second draw"][places],
                self.composition,
                step=Step(number, epochs, step, len(parts)),
            )

    def _backward(self, batch: Batch) -> Loss:
        """The loss of a batch; its gradients are the parameters'."""
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.trial, self.device):
            loss = self.objective(self.model, batch, task_named(self.dataset.task))
        loss = with_penalties(loss, self.model)
        self.reads_epochs |= batch.step.reads_epochs
        loss.total.backward()  # type: ignore[no-untyped-call]
        return loss

    def try_batch(self) -> None:
        self.model.train()
        with seeded(self.device, self.trial.seed, "training", 1):
            loss = self._backward(next(self._batches(1)))
        if not torch.isfinite(loss.total):
            raise TrainingDivergedError(
                f"the loss is {float(loss.total.detach())} before the first step"
            )

    def validate(self) -> dict[str, float]:
        self.model.eval()
        if hasattr(self.objective, "score"):
            return self._objective_scores("val")
        plain = getattr(self.objective, "validates_plain", False)
        place = self.model, self.dataset, self.action, self.composition, self.device
        return validate(*place, plain=plain)

    def test(self, split: str) -> dict[str, float]:
        """Besides the dataset's metrics, those that the trial's columns show."""
        self.model.eval()
        place, further = (self.model, self.dataset, split, self.device), self.trial.metrics
        own = hasattr(self.objective, "score")
        scores = self._objective_scores(split) if own else evaluate(*place, further)
        return scores | probe(*place, (*self.dataset.metrics, *further))

    def _objective_scores(self, split: str) -> dict[str, float]:
        with torch.inference_mode():
            found: dict[str, float] = self.objective.score(self.model, self.dataset, split)
        return found

    def state(self) -> dict[str, Any]:
        return {"model": self._tensors(), "optimizer": self.optimiser.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.load_weights(state["model"])
        self.optimiser.load_state_dict(state["optimizer"])

    def _tensors(self) -> dict[str, torch.Tensor]:
        """The model's, and what the objective has learned, as `objective/…`."""
        learned = {} if self.learned is None else self.learned.state_dict()
        return {
            **self.model.state_dict(),
            **{f"{OBJECTIVE}{name}": value for name, value in learned.items()},
        }

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self._tensors().items()}

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.model.load_state_dict(of_model(weights))
        if self.learned is not None:
            self.learned.load_state_dict(of_objective(weights))

    def artifacts(self) -> dict[str, bytes]:
        """The objective's files and the model's."""
        parts = (self.objective, self.model) if self.trial.training else ()
        found = [part.artifacts() for part in parts if hasattr(part, "artifacts")]
        return {name: data for files in found for name, data in files.items()}
