"""Signals that are the same when shifted: a dataset, a model and an objective of one's own."""

import numpy as np
from torch import nn

from equigrid import (
    Builder,
    Dataset,
    Loss,
    Parameters,
    fixed_views,
    on_device,
    random_stream,
    read_views,
    regular_action,
)


class SignalParameters(Parameters):
    length: int = 64
    samples: int = 600
    noise: float = 0.1
    seed: int = 0


class Signals(Builder):
    """A pulse somewhere on a circle: it rises slowly and falls fast, or the other way round."""

    version = 1  # raise it when the same parameters give other arrays
    Parameters = SignalParameters
    test_splits = ("test_augmented", "test")

    def __init__(self, parameters, group):
        super().__init__(parameters, group)
        if parameters.length % group.order:
            raise ValueError(f"length {parameters.length} has no {group.order} equal shifts")

    @property
    def train_size(self):
        return self.parameters.samples

    @property
    def input_shape(self):
        return (1, self.parameters.length)

    def build(self, raw, progress):
        arrays, length = {}, self.parameters.length
        rising, rest = np.linspace(0, 2, length // 4), np.zeros(length - length // 4)
        for split, share in (("train", 1.0), ("val", 0.5), ("test", 1.0)):
            stream = random_stream(self.parameters.seed, split)
            n = int(self.parameters.samples * share)
            labels = stream.integers(2, size=n)
            signals = stream.normal(scale=self.parameters.noise, size=(n, 1, length))
            # Plain samples have their pulse in the first eighth; the group takes it further.
            starts = stream.integers(length // 8, size=n)
            for signal, label, start in zip(signals, labels, starts, strict=True):
                signal[0] += np.roll(np.append(rising[::-1] if label else rising, rest), start)
            arrays[f"{split}/signals"] = signals.astype(np.float32)
            arrays[f"{split}/labels"] = labels
        return arrays

    def augment(self, base, progress):
        """The action as gather indices [|G|, length]: (g·x)[t] = x[t − g·length/|G|]."""
        order, length = self.group.order, self.parameters.length
        step = np.arange(order)[:, None] * (length // order)
        arrays = {"action": (np.arange(length) - step) % length}
        for split in ("val", "test"):
            size = len(base[f"{split}/labels"])
            arrays |= fixed_views(self.parameters.seed, split, size, order, 1)
        return arrays

    def resident(self, arrays, device):
        return ResidentSignals(self, arrays, device)


class ResidentSignals(Dataset):
    outputs = 2
    draws = 1  # the action is exact
    sources = {"val": "val", "test": "test", "test_augmented": "test"}  # noqa: RUF012

    def __init__(self, builder, arrays, device):
        self.group, self.task, self.input_shape = builder.group, builder.task, builder.input_shape
        self.views = {
            "val": read_views(arrays, "val", device),
            "test_augmented": read_views(arrays, "test", device),
        }
        self.action = on_device(arrays["action"], device)
        names = ("train", "val", "test")
        self.signals = {name: on_device(arrays[f"{name}/signals"], device) for name in names}
        self.labels = {name: on_device(arrays[f"{name}/labels"], device) for name in names}

    def size(self, source):
        return len(self.labels[source])

    def targets(self, source, rows):
        return self.labels[source][rows]

    def plain(self, source, rows):
        return self.signals[source][rows]

    def view(self, source, rows, elements, draws):
        return self.plain(source, rows).gather(2, self.action[elements][:, None])


class Conv1dNet(nn.Module):
    """Two convolutions, then a dense latent: equivariant only as far as it is trained to be."""

    axes = 1  # of the inputs it can serve

    def __init__(self, input_shape, outputs, *, width: int = 8, latent: int = 16):
        super().__init__()
        channels, length = input_shape
        self.encoder = nn.Sequential(
            nn.Conv1d(channels, width, 5, stride=2, padding=2),
            nn.ELU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(width * -(-length // 4), latent),
        )
        self.classifier = nn.Sequential(nn.ELU(), nn.Linear(latent, outputs))

    def encode(self, x):
        return self.encoder(x)

    def head(self, z):
        return self.classifier(z)

    def forward(self, x):
        return self.head(self.encode(x))


class OneSided:
    """Cross entropy on x1, and λ·mean(ρ(g) E(x1) − E(x2))², where E(x2) only sets the target."""

    searched = ("lambda",)  # besides lr
    needs_latent = True  # it must hold the group at least once
    passes = 2  # encoder passes per sample, for the plan's estimate

    def __init__(self, hyperparameters):
        self.strength = hyperparameters["lambda"]

    def prepare(self, model, dataset):
        self.latent_action = regular_action(model, dataset)

    def __call__(self, model, batch, task):
        z1, z2 = model.encode(batch.x1), model.encode(batch.x2).detach()
        outputs = model.head(z1)
        mismatch = (self.latent_action(batch.g, z1) - z2).square().mean()
        loss = task.loss(outputs, batch.y) + self.strength * mismatch
        return Loss(loss, outputs, {"mismatch": mismatch.detach()})
