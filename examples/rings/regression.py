"""A task whose targets are numbers, and what is measured of it."""

import torch


class Regression:
    """outputs, targets: [b, k] numbers; the loss is the mean squared error."""

    like = "classification"  # its models and objectives serve this task too

    def loss(self, outputs, targets):
        return (outputs - targets).square().mean()

    def predict(self, model, x, targets, z):
        return model(x) if z is None else model.head(z)

    def keep(self, outputs, targets):
        return ((outputs - targets).square().mean(1),)

    def mean_loss(self, kept):
        return float(torch.cat([errors for (errors,) in kept]).mean())


class MeanAbsoluteError:
    """|outputs − targets|, the mean over samples and numbers."""

    higher_is_better = False
    margin, relative = 0.05, True  # within 5 % of a published value it agrees

    def __init__(self):
        self.total, self.count = 0.0, 0

    def update(self, outputs, targets):
        self.total += float((outputs - targets).abs().double().sum())
        self.count += targets.numel()

    def compute(self):
        return self.total / self.count
