"""Which representation does a network learn? A free action, trained with it, and alone (section 4).

L = L_task + w_o·L_out + w_l·L_lat + w_a·L_alg with L_out = L_task(D(M_g E(x1)), y2),
L_lat = MSE(M_g E(x1), E(x2)), nothing detached, and L_alg the departure of M from a representation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import safetensors.torch
import torch

from equigrid.datasets.resident import Dataset
from equigrid.lookup import task_entry
from equigrid.metrics.latent_gap import LatentGap
from equigrid.metrics.metric import Scores
from equigrid.models.network import Network
from equigrid.objectives.batch import Batch
from equigrid.objectives.latents import latent_shape, orbit_latents
from equigrid.objectives.learned_action import LearnedAction
from equigrid.objectives.learned_pictures import (
    LINES,
    animation,
    eigenvalues_by_step,
    pairs_at_work,
)
from equigrid.objectives.task import Loss, Task, task_named
from equigrid.symmetry.carried import carried_action, split_orbits
from equigrid.symmetry.words import order_of, relations_of

#: Held-out inputs whose orbits say which action the latents carry, for each dimension of them.
ORBITS = 20
#: Of relations: the group's own.
NONE: dict[str, float] = {}


class AlgebraAlone:
    """w_a·L_alg: the same start as with a network, and neither network nor data.

    relations: of the group's presentation, as text in its generators a, b, …, with weights; all at
    1 where none are given. regularisers: further ones, which follow from those. start: of M.
    """

    title: ClassVar[str] = "How the learned action came to be"

    def __init__(
        self,
        hyperparameters: Mapping[str, float],
        *,
        relations: Mapping[str, float] = NONE,
        regularisers: Mapping[str, float] = NONE,
        start: str = "orthogonal",
        algebra_weight: float = 1.0,
    ) -> None:
        self.relations, self.regularisers = relations, regularisers
        self.start, self.algebra_weight = start, algebra_weight

    def prepare(self, model: Network, dataset: Dataset) -> LearnedAction:
        (latent,) = latent_shape(model, dataset)
        self.latent_action = LearnedAction(dataset.group, latent, self.start)
        own = relations_of(self.relations, dataset.group)
        more = relations_of(self.regularisers, dataset.group) if self.regularisers else {}
        self.own, self.all_relations = dict.fromkeys(own, 1.0), {**own, **more}
        return self.latent_action

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        self._watch(batch)
        algebra = self.latent_action.departure(self.all_relations)
        return Loss(self.algebra_weight * algebra, None, {"algebra_loss": algebra.detach()})

    def score(self, model: Network, dataset: Dataset, split: str) -> dict[str, float]:
        """loss: w_a·L_alg. algebra_loss: L_alg. relation_loss: of the presentation, each at 1.

        steps: taken so far. The rest as of LearnedAction.measure.
        """
        action = self.latent_action
        algebra = float(action.departure(self.all_relations))
        return {
            "loss": self.algebra_weight * algebra,
            "algebra_loss": algebra,
            "relation_loss": float(action.departure(self.own)),
            "steps": float(action.steps),
            **action.measure(),
        }

    def artifacts(self) -> dict[str, bytes]:
        """The matrices at the start and now, the eigenvalues between, and these as an animation."""
        action = self.latent_action
        seen = int((action.seen >= 0).sum())
        tensors = {
            "start": action.start,
            "matrices": action.matrices.detach(),
            "steps": action.seen[:seen],
            "eigenvalues": action.eigenvalues[:seen],
        }
        found = {name: it.cpu().contiguous().clone() for name, it in tensors.items()}
        orders = [order_of(g, action.group) for g in action.group.generators]
        found["orders"] = torch.tensor(orders)
        moving = animation(found["steps"].tolist(), found["eigenvalues"].numpy(), orders)
        return {
            "action.safetensors": safetensors.torch.save(found),
            "eigenvalues.gif": moving,
        }

    @staticmethod
    def drawings(runs: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
        """For the report: eigenvalues by step, and the action at work, of the first run."""
        for run in runs:
            data = run.artifact("action.safetensors")
            if data is None:
                continue
            seed = run.record.trial.seed
            found = safetensors.torch.load(data)
            steps, orders = found["steps"].tolist(), found["orders"].tolist()
            values = found["eigenvalues"].numpy()
            yield (
                f"eigenvalues by step, seed {seed}",
                eigenvalues_by_step(steps, values, orders),
                "Of the generators' matrices; crosses are the roots of unity of their orders.",
            )
            moving = run.artifact("eigenvalues.gif")
            if moving is not None:
                yield (
                    f"eigenvalues in motion, seed {seed}", moving,
                    f"Steps 0 to {steps[-1]}; to the best epoch.",
                )  # fmt: skip
            pairs = run.artifact("pairs.png")
            if pairs is not None:
                yield (
                    f"the action at work, seed {seed}", pairs,
                    f"From above: {LINES}; of the first test pairs.",
                )  # fmt: skip
            return

    def _watch(self, batch: Batch) -> None:
        at = batch.step
        self.latent_action.watch((at.epoch - 1) * at.steps + at.step - 1)


class LearnedRepresentation(AlgebraAlone):
    """The network and the action together.

    task_on: whether L_task is of x1 alone, or the mean of x1 and x2.
    """

    def __init__(
        self,
        hyperparameters: Mapping[str, float],
        *,
        relations: Mapping[str, float] = NONE,
        regularisers: Mapping[str, float] = NONE,
        start: str = "orthogonal",
        algebra_weight: float = 1.0,
        output_weight: float = 0.25,
        latent_weight: float = 0.25,
        task_on: str = "both",
    ) -> None:
        super().__init__(
            hyperparameters, relations=relations, regularisers=regularisers, start=start,
            algebra_weight=algebra_weight,
        )  # fmt: skip
        self.output_weight, self.latent_weight = output_weight, latent_weight
        self.both = task_on == "both"

    def prepare(self, model: Network, dataset: Dataset) -> LearnedAction:
        self.model, self.dataset = model, dataset
        return super().prepare(model, dataset)

    def artifacts(self) -> dict[str, bytes]:
        """And the action at work on pairs, where outputs are pictures."""
        pairs = pairs_at_work(self.model, self.latent_action, self.dataset)
        return super().artifacts() | ({} if pairs is None else {"pairs.png": pairs})

    def __call__(self, model: Network, batch: Batch, task: Task) -> Loss:
        self._watch(batch)
        z1, z2 = model.encode(batch.x1), model.encode(batch.x2)
        moved, outputs = self.latent_action(batch.g, z1), model.head(z1)
        task_loss = task.loss(outputs, batch.y1)
        if self.both:
            task_loss = 0.5 * task_loss + 0.5 * task.loss(model.head(z2), batch.y2)
        terms = {
            "task_loss": task_loss,
            "output_loss": task.loss(model.head(moved), batch.y2),
            "latent_loss": torch.nn.functional.mse_loss(moved, z2),
            "algebra_loss": self.latent_action.departure(self.all_relations),
        }
        total = self._total(terms)
        return Loss(total, outputs, {name: it.detach() for name, it in terms.items()})

    def _total(self, terms: Mapping[str, Any]) -> Any:
        return (
            terms["task_loss"]
            + self.output_weight * terms["output_loss"]
            + self.latent_weight * terms["latent_loss"]
            + self.algebra_weight * terms["algebra_loss"]
        )

    def score(self, model: Network, dataset: Dataset, split: str) -> dict[str, float]:
        """Beside the scores of the algebra alone, of the split's pairs:

        loss: L. task_loss, output_loss, latent_loss: its terms. equivariance_loss: w_o·L_out +
        w_l·L_lat. latent_error: Σ‖M_g E(x1) − E(x2)‖² / Σ‖E(x2) − mean‖², which does not shrink
        with the latents. The task's and the dataset's metrics on x1.
        Of a split without pairs those metrics and task_loss, on the samples as they are.
        On test splits `data_i`: how often each irreducible is in the action that the latents
        themselves carry; none where they carry no linear action.
        """
        found = super().score(model, dataset, split)
        found |= self._of_pairs(model, dataset, split)
        if "latent_loss" in found:
            found["loss"] = self._total(found)
            found["equivariance_loss"] = (
                self.output_weight * found["output_loss"]
                + self.latent_weight * found["latent_loss"]
            )
        return found if split == "val" else found | self._on_the_data(model, dataset, split)

    def _of_pairs(self, model: Network, dataset: Dataset, split: str) -> dict[str, float]:
        task = task_named(dataset.task)
        source, views = dataset.sources[split], dataset.views.get(split)
        device = self.latent_action.matrices.device
        table = torch.from_numpy(dataset.composition.copy()).to(device)
        gap, count = LatentGap(), 0
        sums: dict[str, float] = {}
        scores = Scores([*task_entry(dataset.task).always, *dataset.metrics])
        for rows in dataset.chunks(source, device):
            if views is None:
                x1 = dataset.plain(source, rows)
            else:
                x1 = dataset.view(source, rows, views.elements[rows], views.draws[rows])
            y1, z1 = dataset.targets_of(source, rows, x1), model.encode(x1)
            outputs = model.head(z1)
            scores.update(outputs, y1)
            losses = {"first": task.loss(outputs, y1)}
            if views is not None:
                g = views.pair_elements[rows]
                at = table[g, views.elements[rows]]
                x2 = dataset.view(source, rows, at, views.pair_draws[rows])
                y2, z2 = dataset.targets_of(source, rows, x2), model.encode(x2)
                moved = self.latent_action(g, z1)
                gap.add(moved, z2)
                losses["second"] = task.loss(model.head(z2), y2)
                losses["output_loss"] = task.loss(model.head(moved), y2)
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(rows)
            count += len(rows)
        means = {name: value / count for name, value in sums.items()}
        first = means.pop("first")
        second = means.pop("second", first)
        found = {**means, "task_loss": 0.5 * (first + second) if self.both else first}
        if views is not None:
            found |= {"latent_loss": gap.mean_square, "latent_error": gap.relative}
        return found | scores.compute()

    def _on_the_data(self, model: Network, dataset: Dataset, split: str) -> dict[str, float]:
        device = self.latent_action.matrices.device
        count = ORBITS * self.latent_action.matrices.shape[1]
        latents = orbit_latents(model, dataset, split, count, device)
        carried = carried_action(dataset.group, *split_orbits(latents), dataset.composition)
        if carried.representation is None:
            return {}
        return {f"data_{n}": float(it) for n, it in enumerate(carried.multiplicities)}
