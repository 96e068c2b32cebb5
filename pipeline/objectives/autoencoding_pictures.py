"""What an autoencoder has learned, to look at: reconstructions, samples, a map of its latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from equigrid.datasets.resident import Dataset
from equigrid.models.network import Network
from equigrid.objectives.latents import embedding
from equigrid.objectives.sheet import contact_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Test samples shown; lines of samples from the prior; pairs between which is gone, and steps.
SHOWN, LINES, PAIRS = 10, 3, 4
#: Test latents that are kept for the map.
MAPPED = 2000
LATENTS, RECONSTRUCTIONS = "latents.safetensors", "reconstructions.png"
SAMPLES, INTERPOLATIONS = "samples.png", "interpolations.png"


def artifacts(
    model: Network, dataset: Dataset, is_variational: bool, split: str = "test"
) -> dict[str, bytes]:
    """Files of a run: latents and labels of test samples, and pictures where inputs have some."""
    source, device = dataset.sources[split], next(model.parameters()).device
    rows = torch.arange(min(MAPPED, dataset.size(source)), device=device)
    with torch.inference_mode():
        model.eval()
        z = embedding(model, dataset.plain(source, rows))
        kept = {"z": z.cpu().contiguous(), "labels": dataset.labels(source, rows).cpu()}
        found = {LATENTS: safetensors.torch.save({name: it.clone() for name, it in kept.items()})}
        x = dataset.plain(source, rows[:SHOWN])
        if dataset.pictures(x) is None:
            return found
        one = model.encode(dataset.plain("train", rows[:1]))
        lines = [x, model.head(model.encode(x))]
        if hasattr(model, "in_frame_of"):
            lines.append(_decoded(model, one, z[:SHOWN]))
        found[RECONSTRUCTIONS] = _sheet(dataset, lines)
        shares = torch.linspace(0, 1, SHOWN, device=device)[:, None]
        between = [
            _decoded(model, one, torch.lerp(z[2 * n], z[2 * n + 1], shares))
            for n in range(min(PAIRS, len(z) // 2))
        ]
        found[INTERPOLATIONS] = _sheet(dataset, between)
        if is_variational:
            stream = torch.Generator().manual_seed(0)
            drawn = torch.randn(LINES, SHOWN, z.shape[1], generator=stream).to(z)
            found[SAMPLES] = _sheet(dataset, [_decoded(model, one, line) for line in drawn])
    return found


def _decoded(model: Network, one: Tensor, z: Tensor) -> Any:
    """By the frame of one latent, where there are frames."""
    return model.head(model.in_frame_of(one, z) if hasattr(model, "in_frame_of") else z)


def _sheet(dataset: Dataset, lines: Sequence[Tensor]) -> bytes:
    pictures = [dataset.pictures(line) for line in lines]
    return contact_sheet([picture for picture in pictures if picture is not None])


def drawings(runs: Sequence[Any]) -> Iterator[tuple[str, Any, str]]:
    """(heading, picture, caption) of the first run that has any."""
    for run in runs:
        data = run.artifact(LATENTS)
        if data is None:
            continue
        trial = run.record.trial
        of = f"{trial.dataset}, seed {trial.seed}"
        found = safetensors.torch.load(data)
        figure = latent_map(found["z"], found["labels"])
        yield f"latents, {of}", figure, "Test latents z on their first two principal components."
        for name, heading, caption in (
            (RECONSTRUCTIONS, "reconstructions",
             "From above: test inputs, their reconstructions and, where the network has a frame, "
             "the same z in one frame for all, that of the first training input."),
            (INTERPOLATIONS, "interpolations",
             "A line from the z of one test input to that of another, in one frame."),
            (SAMPLES, "samples of the prior", "z drawn from N(0, 1), in one frame."),
        ):  # fmt: skip
            picture = run.artifact(name)
            if picture is not None:
                yield f"{heading}, {of}", picture, caption
        return


def latent_map(z: Tensor, labels: Tensor) -> Figure:
    """[n, d] latents on their first two principal components, [n] labels as colours."""
    # Takes half a second to import, and is needed for a report alone.
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    centred = z.flatten(1).double() - z.flatten(1).double().mean(0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    at = (centred @ directions[:2].T).numpy()
    shares = (sizes.square() / sizes.square().sum())[:2].tolist()
    figure = Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for n, label in enumerate(np.unique(labels.numpy())):
        here = labels.numpy() == label
        colour = colormaps["tab10"](n % 10)
        axes.plot(*at[here].T, ".", markersize=3, color=colour, label=str(label))
    names = [f"component {n} ({share:.0%})" for n, share in enumerate(shares, 1)]
    axes.set(xlabel=names[0], ylabel=names[-1], xticks=(), yticks=())
    figure.legend(loc="outside right upper", markerscale=3, fontsize=8)
    return figure
