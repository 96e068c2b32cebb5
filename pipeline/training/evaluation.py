"""Scores of a model on a split, and how equivariant its latent is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.lookup import metric_entry, task_entry
from equigrid.metrics.latent_measures import LatentMeasures
from equigrid.metrics.metric import Scores
from equigrid.models.network import Network
from equigrid.objectives.latents import embedding
from equigrid.objectives.regular import LatentAction
from equigrid.objectives.task import task_named


def predict(
    model: Network, dataset: Dataset, split: str, rows: Tensor, plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Targets and outputs for [b] sample numbers of a split, as a test scores them.

    plain: of the samples as they are, whatever elements the split has.
    """
    targets, x = inputs(dataset, split, rows, plain)
    with torch.inference_mode():
        return targets, task_named(dataset.task).predict(model, x, targets, None)


def predictions(model: Network, dataset: Dataset, split: str, device: str) -> tuple[Tensor, Tensor]:
    """Outputs and targets of a whole split."""
    chunks = dataset.chunks(dataset.sources[split], device)
    found = [predict(model, dataset, split, rows) for rows in chunks]
    return torch.cat([out for _, out in found]), torch.cat([target for target, _ in found])


def metrics_of(dataset: Dataset, further: Iterable[str] = ()) -> list[str]:
    """What is measured of outputs: the task's own, the dataset's, and further ones."""
    names = [*task_entry(dataset.task).always, *dataset.metrics, *further]
    return [name for name in names if metric_entry(name).reads == "outputs"]


def probe(
    model: Network, dataset: Dataset, split: str, device: str, names: Iterable[str]
) -> dict[str, float]:
    """Of metrics those that read latents, on a split; none of a model without latents."""
    names = [name for name in names if metric_entry(name).reads == "latents"]
    if not names or not (hasattr(model, "encode") or hasattr(model, "embed")):
        return {}
    scores, source = Scores(names), dataset.sources[split]
    with torch.inference_mode():
        parts = dataset.chunks("train", device)
        known = torch.cat([embedding(model, dataset.plain("train", part)) for part in parts])
        scores.fit(known, dataset.labels("train", torch.cat(parts)))
        for part in dataset.chunks(source, device):
            _, x = inputs(dataset, split, part)
            scores.update(embedding(model, x), dataset.labels(source, part))
    return scores.compute()


def inputs(
    dataset: Dataset, split: str, rows: Tensor, plain: bool = False
) -> tuple[Tensor, Tensor]:
    """Targets and inputs for [b] sample numbers of a split.

    At the split's fixed group elements where it has them, unless `plain`.
    """
    source, views = dataset.sources[split], dataset.views.get(split)
    if views is None or plain:
        x = dataset.plain(source, rows)
    else:
        x = dataset.view(source, rows, views.elements[rows], views.draws[rows])
    return dataset.targets_of(source, rows, x), x


def evaluate(
    model: Network,
    dataset: Dataset,
    split: str,
    device: str,
    further: Iterable[str] = (),
    plain: bool = False,
) -> dict[str, float]:
    """The loss and the metrics of a split, at its fixed elements where it has them.

    further: metrics of outputs beside the dataset's own. plain: not at its elements.
    """
    task, kept = task_named(dataset.task), []
    scores = Scores(metrics_of(dataset, further))
    with torch.inference_mode():
        for rows in dataset.chunks(dataset.sources[split], device):
            targets, outputs = predict(model, dataset, split, rows, plain)
            kept.append(task.keep(outputs, targets))
            scores.update(outputs, targets)
        return {"loss": task.mean_loss(kept), **scores.compute()}


def validate(
    model: Network,
    dataset: Dataset,
    action: LatentAction | None,
    table: Tensor,
    device: str,
    plain: bool = False,
) -> dict[str, float]:
    """Validation scores and, with a latent action, how the group moves the latents.

    The latter on pairs x1 = a·x, x2 = g·x1 with a and g fixed per sample: see LatentMeasures.
    plain: the scores are of the samples as they are, not of x1.
    """
    if action is None:
        return evaluate(model, dataset, "val", device, plain=plain)
    task, source, views = task_named(dataset.task), dataset.sources["val"], dataset.views["val"]
    kept, scores = [], Scores(metrics_of(dataset))
    measures = LatentMeasures(action, dataset.group.order)
    with torch.inference_mode():
        for rows in dataset.chunks(source, device):
            a, g = views.elements[rows], views.pair_elements[rows]
            x1 = dataset.view(source, rows, a, views.draws[rows])
            x2 = dataset.view(source, rows, table[g, a], views.pair_draws[rows])
            z1 = model.encode(x1)
            scored, z = (dataset.plain(source, rows), None) if plain else (x1, z1)
            targets = dataset.targets_of(source, rows, scored)
            outputs = task.predict(model, scored, targets, z)
            kept.append(task.keep(outputs, targets))
            scores.update(outputs, targets)
            measures.add(g, z1, model.encode(x2))
        return {"loss": task.mean_loss(kept), **scores.compute(), **measures.compute()}
