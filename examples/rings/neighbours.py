"""A probe of the latent."""

import torch


class NearestNeighbour:
    """A probe of the latent: how far the target of the nearest training latent is off."""

    higher_is_better = False
    reads = "latents"

    def __init__(self):
        self.errors = []

    def fit(self, latents, targets):
        self.latents, self.targets = latents, targets

    def update(self, latents, targets):
        nearest = torch.cdist(latents, self.latents).argmin(1)
        self.errors.append((self.targets[nearest] - targets).abs().mean(1))

    def compute(self):
        return torch.cat(self.errors).mean()
