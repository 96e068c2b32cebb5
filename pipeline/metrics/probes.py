"""What a latent tells of classes that it never was told of (H-(V)AE, section 4)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Labels = NDArray[np.int64]


class _Probe:
    """Latents [n, d] and labels [n] of the split, and of the training split."""

    def __init__(self) -> None:
        self._found: list[Tensor] = []
        self._labels: list[Tensor] = []
        self.known = self.known_labels = torch.empty(0)

    def fit(self, latents: Tensor, labels: Tensor) -> None:
        self.known, self.known_labels = latents.flatten(1), labels

    def update(self, latents: Tensor, labels: Tensor) -> None:
        self._found.append(latents.flatten(1))
        self._labels.append(labels)

    @property
    def latents(self) -> Tensor:
        return torch.cat(self._found)

    @property
    def labels(self) -> Labels:
        found: Labels = torch.cat(self._labels).cpu().numpy()
        return found


class _Clusters(_Probe):
    """Of k-means, as many clusters as classes, best of ten starts."""

    def clusters(self) -> Labels:
        from sklearn.cluster import KMeans

        count = len(np.unique(self.labels))
        means = KMeans(count, n_init=10, random_state=0)
        found: Labels = means.fit_predict(self.latents.cpu().numpy())
        return found


class Purity(_Clusters):
    """The share of samples that are of their cluster's most frequent class."""

    def compute(self) -> float:
        from sklearn.metrics.cluster import contingency_matrix

        counts = contingency_matrix(self.labels, self.clusters())
        return float(counts.max(0).sum() / counts.sum())


class VMeasure(_Clusters):
    """The harmonic mean of homogeneity and completeness of the clusters."""

    def compute(self) -> float:
        from sklearn.metrics import v_measure_score

        return float(v_measure_score(self.labels, self.clusters()))


class KNNAccuracy(_Probe):
    """Of the class of most of the five nearest training latents (scikit-learn's default)."""

    def compute(self) -> float:
        from sklearn.neighbors import KNeighborsClassifier

        classifier = KNeighborsClassifier()
        classifier.fit(self.known.cpu().numpy(), self.known_labels.cpu().numpy())
        return float(classifier.score(self.latents.cpu().numpy(), self.labels))


class LinearAccuracy(_Probe):
    """Of a linear classifier of the training latents.

    250 epochs of batches of 100, cross entropy, Adam at 0.01, a tenth of it whenever the training
    loss has not fallen for 10 epochs.
    """

    epochs: ClassVar[int] = 250
    batch: ClassVar[int] = 100

    def compute(self) -> float:
        with torch.inference_mode(False), torch.enable_grad():
            x, y = self.known.detach().cpu().clone(), self.known_labels.cpu().clone()
            classifier = self._trained(x, y)
        with torch.inference_mode():
            found = classifier(self.latents.cpu()).argmax(1).numpy()
        return float((found == self.labels).mean())

    def _trained(self, x: Tensor, y: Tensor) -> torch.nn.Linear:
        stream = torch.Generator().manual_seed(0)
        classifier = torch.nn.Linear(x.shape[1], int(y.max()) + 1)
        with torch.no_grad():
            classifier.weight.zero_()
            classifier.bias.zero_()
        optimiser = torch.optim.Adam(classifier.parameters(), 0.01)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.1, patience=10)
        for _ in range(self.epochs):
            total = 0.0
            for rows in torch.split(torch.randperm(len(x), generator=stream), self.batch):
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(classifier(x[rows]), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(loss.detach()) * len(rows)
            plateau.step(total / len(x))
        return classifier
