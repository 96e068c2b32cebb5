"""A dataset, a network, an objective and a metric of one's own, named in the search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from equigrid import ImageClassification, Loss, Parameters, random_stream


class BlobsParameters(Parameters):
    """What the search space may set of the dataset."""

    samples: int = 240
    seed: int = 0


class Blobs(ImageClassification):
    """Two, three or four bright pixels in a picture of 8×8: how many?"""

    version = 1  # raise it when the same parameters give other arrays
    Parameters = BlobsParameters
    outputs = 3
    input_shape = (1, 8, 8)

    @property
    def train_size(self) -> int:
        return int(self.parameters.samples)

    def build(self, raw: Any, progress: Any) -> dict[str, np.ndarray[Any, Any]]:
        """uint8 images [n, 1, 8, 8] and labels [n] of each split; replace it by your data."""
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for split, share in (("train", 1.0), ("val", 0.5), ("test", 0.5)):
            stream = random_stream(self.parameters.seed, split)
            count = int(self.parameters.samples * share)
            labels = stream.integers(self.outputs, size=count)
            images = stream.integers(60, size=(count, 1, 8, 8), dtype=np.uint8)
            for image, label in zip(images, labels, strict=True):
                image.reshape(-1)[stream.choice(64, size=label + 2, replace=False)] = 255
            arrays |= {f"{split}/images": images, f"{split}/labels": labels}
        return arrays


class Net(nn.Module):
    """Called with the shape of an input (channels, rows, columns) and the number of classes."""

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, latent: int = 32, dropout: float = 0.1
    ) -> None:
        super().__init__()
        channels, rows, columns = input_shape
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(8 * rows * columns, latent),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(latent, outputs))

    def encode(self, x: Tensor) -> Tensor:
        """[b, channels, rows, columns] → latents [b, latent]: what the group is to act on."""
        latents: Tensor = self.encoder(x)
        return latents

    def head(self, z: Tensor) -> Tensor:
        """[b, latent] → outputs [b, classes]."""
        outputs: Tensor = self.classifier(z)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encode(x))


class Shrinking:
    """The task's loss of an augmented sample, and λ times the mean square of its latent."""

    searched = ("lambda",)  # a grid has a list of each

    def __init__(self, values: Mapping[str, float]) -> None:
        self.weight = values["lambda"]

    def __call__(self, model: Any, batch: Any, task: Any) -> Loss:
        latents = model.encode(batch.x1)
        outputs = model.head(latents)
        size = latents.square().mean()
        total = task.loss(outputs, batch.y1) + self.weight * size
        return Loss(total, outputs, {"size": size.detach()})


class TopTwo:
    """Share of samples whose label is among the two likeliest."""

    higher_is_better = True

    def __init__(self) -> None:
        self.right, self.count = 0, 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        likeliest = outputs.topk(2, dim=1).indices
        self.right += int((likeliest == targets[:, None]).sum())
        self.count += len(targets)

    def compute(self) -> float:
        return self.right / self.count
