"""An objective that learns how the group acts on the latent, and a network that it suits."""

import torch
from matplotlib.figure import Figure
from torch import nn

from equigrid import Loss


class Perceptron(nn.Module):
    """Two layers; the weights of the last are kept small by a penalty of its own."""

    def __init__(self, input_shape, outputs, *, width: int = 24, latent: int = 8):
        super().__init__()
        size = input_shape[0] * input_shape[1]
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ELU(), nn.Linear(width, latent)
        )
        self.last = nn.Linear(latent, outputs)

    def encode(self, x):
        return self.encoder(x)

    def head(self, z):
        return self.last(nn.functional.elu(z))

    def forward(self, x):
        return self.head(self.encode(x))

    def penalties(self):
        return {"last_layer": (1e-4, self.last.weight.square().mean())}


class Turn(nn.Module):
    """M, by which one step of a cyclic group acts on the latent; g steps act by its g-th power."""

    def __init__(self, latent, order):
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(latent) + 0.1 * torch.randn(latent, latent))
        self.order = order

    def forward(self, elements, latents):
        powers = [torch.eye(len(self.matrix), device=latents.device)]
        for _ in range(self.order - 1):
            powers.append(powers[-1] @ self.matrix)
        return torch.einsum("bij,bj->bi", torch.stack(powers)[elements], latents)

    def algebra(self):
        """mean((M^n − 1)²): zero for a representation of the cyclic group of order n."""
        power = torch.linalg.matrix_power(self.matrix, self.order)
        return (power - torch.eye(len(power), device=power.device)).square().mean()


class LearnedTurn:
    """L(f(x1), y) + λ·mean((M^g E(x1) − E(x2))²) + β·mean((M^n − 1)²), and M is learned."""

    title = "How the group came to act"
    searched = ("lambda", "beta")  # besides lr; of equal scores the lower win, in this order
    passes = 2

    def __init__(self, hyperparameters, *, warmup: int = 1):
        self.strength, self.algebra = hyperparameters["lambda"], hyperparameters["beta"]
        self.warmup = warmup

    def prepare(self, model, dataset):
        latent = model.encode(dataset.plain("train", torch.zeros(1, dtype=torch.int64))).shape[1]
        self.latent_action = Turn(latent, dataset.group.order)
        return self.latent_action

    def artifacts(self):
        """Files that lie beside the weights, and in MLflow: what M became."""
        rows = self.latent_action.matrix.detach().cpu().tolist()
        lines = [",".join(f"{value:.9g}" for value in row) for row in rows]
        return {"matrix.csv": "\n".join(lines).encode()}

    @staticmethod
    def drawings(runs):
        """For the report: (heading, figure, caption) each."""
        figure = Figure(figsize=(4.6, 3), layout="constrained")
        axes = figure.subplots()
        for run in runs:
            algebra = [epoch["train_algebra"] for epoch in run.record.history]
            axes.plot(range(1, len(algebra) + 1), algebra, label=f"seed {run.record.trial.seed}")
        axes.set(xlabel="epoch", ylabel="mean((Mⁿ − 1)²)", yscale="log")
        axes.legend()
        yield "departure from a representation", figure, "Zero for a representation of the group."

    def __call__(self, model, batch, task):
        z1, z2 = model.encode(batch.x1), model.encode(batch.x2)
        outputs = model.head(z1)
        mismatch = (self.latent_action(batch.g, z1) - z2).square().mean()
        algebra = self.latent_action.algebra()
        strength = self.strength * min(1.0, batch.step.epoch / self.warmup)
        loss = task.loss(outputs, batch.y) + strength * mismatch + self.algebra * algebra
        return Loss(loss, outputs, {"mismatch": mismatch.detach(), "algebra": algebra.detach()})
