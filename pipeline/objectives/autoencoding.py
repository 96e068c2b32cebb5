"""Reconstruct, and keep the latent near a normal distribution (H-(V)AE, section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.lookup import metric_entry
from equigrid.metrics.latent_gap import LatentGap
from equigrid.metrics.metric import Scores
from equigrid.models.network import Network, Variational
from equigrid.objectives import autoencoding_pictures as pictures
from equigrid.objectives.batch import Batch
from equigrid.objectives.latents import embedding
from equigrid.objectives.task import Loss, Task


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) of a batch [b, d], a number of the latent: mean over both."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class Autoencoding:
    """α · MSE + β · KL / d: with β = 0 an autoencoder, else a variational one.

    A model with `distribution(x)` gives mean and log-variance of z and what of its latent is not
    random; `head` takes both side by side. With β > 0 z is drawn while training; it is tested with
    z's mean, as is a model that has none, whose KL is none.

    warm_up: epochs with β = 0; rise: epochs over which it then rises in equal steps to β.
    """

    title: ClassVar[str] = "What the latents hold"

    def __init__(
        self, hyperparameters: Mapping[str, float], *, warm_up: int = 0, rise: int = 0
    ) -> None:
        self.alpha, self.beta = hyperparameters["alpha"], hyperparameters["beta"]
        self.warm_up, self.rise = warm_up, rise

    def prepare(self, model: Network, dataset: Dataset) -> None:
        """Nothing is learned beside the model; its pictures are made of both."""
        self.model, self.dataset = model, dataset

    def artifacts(self) -> dict[str, bytes]:
        """Latents, reconstructions, interpolations, samples of the prior."""
        return pictures.artifacts(self.model, self.dataset, self._is_variational(self.model))

    @staticmethod
    def drawings(runs: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
        return pictures.drawings(runs)

    def beta_in(self, epoch: int) -> float:
        """In an epoch, counted from 1."""
        if not self.rise:
            return self.beta if epoch > self.warm_up else 0.0
        return self.beta * min(1.0, max(0.0, (epoch - self.warm_up) / self.rise))

    def _is_variational(self, model: Network) -> TypeGuard[Variational]:
        return self.beta > 0 and hasattr(model, "distribution")

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        if not self._is_variational(model):
            outputs = model(batch.x)
            loss = task.loss(outputs, batch.y)
            return Loss(self.alpha * loss, outputs, {})
        mean, log_variance, fixed = model.distribution(batch.x)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        outputs = model.head(torch.cat([z, fixed], 1))
        kl, beta = kl_divergence(mean, log_variance), self.beta_in(batch.step.epoch)
        total = self.alpha * task.loss(outputs, batch.y) + beta * kl
        terms = {"kl": kl.detach(), "beta": torch.tensor(beta)}
        return Loss(total, outputs, terms)

    def score(self, model: Network, dataset: Dataset, split: str) -> dict[str, float]:
        """The dataset's metrics of reconstructions by z's mean, and

        loss: α · MSE + the final β · KL, by which the best epoch is chosen. kl: of a latent number.
        rotation_error: on test splits of data that can be rotated, Σ‖z(R x) − z(x)‖² /
        Σ‖z(x) − mean‖², R uniform over SO(3).
        """
        source = dataset.sources[split]
        scores = Scores([it for it in dataset.metrics if metric_entry(it).reads == "outputs"])
        rotated = getattr(dataset, "rotated", None) if split != "val" else None
        gap, count, square, divergence = LatentGap(), 0, 0.0, 0.0
        for rows in dataset.chunks(source, next(model.parameters()).device):
            x, targets = dataset.plain(source, rows), dataset.targets(source, rows)
            if self._is_variational(model):
                mean, log_variance, fixed = model.distribution(x)
                latent = torch.cat([mean, fixed], 1)
                divergence += float(kl_divergence(mean, log_variance)) * len(rows)
            else:
                latent = model.encode(x)
            outputs = model.head(latent)
            scores.update(outputs, targets)
            square += float((outputs - targets).square().flatten(1).mean(1).sum())
            count += len(rows)
            if rotated is not None:
                gap.add(embedding(model, rotated(source, rows)), embedding(model, x))
        loss = self.alpha * square / count + self.beta * divergence / count
        found = {"loss": loss, **scores.compute()}
        if self._is_variational(model):
            found["kl"] = divergence / count
        return found if rotated is None else {**found, "rotation_error": gap.relative}
