"""What each packaged part computes, as figures: of data its content, of training three steps.

`python tests/meaning.py` writes the stored figures anew: after a change of meaning that raised a
builder's version or TRAINING_VERSION.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent / "datasets"))
import raw_archives
import volumes

from equigrid.datasets.builder import Builder
from equigrid.datasets.raw import RawStore
from equigrid.datasets.resident import Dataset
from equigrid.lookup import dataset_builder, load, serves
from equigrid.objectives.batch import Batch
from equigrid.objectives.task import task_named, with_penalties
from equigrid.registry import DATASETS, MODELS, OBJECTIVES
from equigrid.symmetry import group_by_name
from equigrid.training.model import build_model
from equigrid.training.streams import seeded, stream
from equigrid.trial import TRAINING_VERSION, Trial

STORED = Path(__file__).parent / "data" / "meaning.json"

DIGITS = {"source": "digits", "digits": 2, "per_label": {"train": 12, "val": 6, "test": 5}}
FLOWS = {
    "grid": 8, "steps": 46, "simulations": 3, "train": [3, 1], "domain": [2],
    "starts": {"train": [0, 8], "val": [8, 10], "future": [10, 12], "domain": [4, 6]},
}  # fmt: skip
#: Builder, group and parameters by a name.
DATA: dict[str, tuple[str, str, dict[str, Any]]] = {
    "double digits, exact": ("ddmnist", "D1xD1", DIGITS),
    "double digits, artefacts": ("ddmnist", "C4xC4", {**DIGITS, "artefacts": {"draws": 2}}),
    "double digits, released": (
        "ddmnist", "D4xD4", {**DIGITS, "artefacts": {"draws": 1, "variant": "released"}},
    ),
    "double digits, disjoint": ("ddmnist", "C4xC4", {**DIGITS, "evaluation_digits": "disjoint"}),
    "volumes": ("medmnist3d", "octahedral", {"flag": "fracturemnist3d", "pool": 2}),
    "volumes, released": (
        "medmnist3d", "octahedral", {"flag": "fracturemnist3d", "pool": 2, "action": "released"},
    ),
    "own arrays": (
        "arrays", "C4",
        {"file": "own.npz", "shape": [1, 4, 4], "classes": 3,
         "samples": {"train": 30, "val": 9, "test": 9}},
    ),
    "typefaces": ("typefaces", "C2", {"source": "tmnist", "train": 40, "val": 8, "test": 8}),
    "turned digits": ("mnist", "D3", {"source": "digits", "train": 60, "val": 20}),
    "spherical digits": (
        "spherical_mnist", "C1",
        {"source": "digits", "train": 40, "val": 10, "test": 10, "train_turned": True,
         "bandwidth": 8, "degree": 4},
    ),
    "colours": ("cifar10", "C4", {"train": 30, "val": 10}),
    "flows": ("smoke", "C4", FLOWS),
    "flows, released": (
        "smoke", "C4", {**FLOWS, "action": "released", "placement": "released"},
    ),
}  # fmt: skip
#: The data and the settings that a model is tried with.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddmnist_cnn": ("double digits, exact", {"width": 4, "latent": 10}),
    "small_cnn": ("double digits, artefacts", {"width": 4, "latent": 20}),
    "resnet3d": ("volumes", {"width": 2, "latent": 26}),
    "conv_autoencoder": ("typefaces", {"latent": 6}),
    "mlp_autoencoder": ("turned digits", {"latent": 7}),
    "holographic_autoencoder": (
        "spherical digits",
        {"latent": 5, "degrees": [4, 2, 1], "channels": [3, 3, 4]},
    ),
    "gelu_cnn": ("colours", {"width": 3, "latent": 9}),
    "no_network": ("colours", {"latent": 9}),
    "field_cnn": ("flows", {"width": 6}),
    "field_mlp": ("flows", {"latent": 9}),
    "steerable_cnn": ("double digits, artefacts", {"width": 1, "latent": 20, "restrict_after": 3}),
    "residual_pathway_cnn": ("double digits, exact", {"width": 1, "latent": 9}),
    "partially_steerable_cnn": ("double digits, artefacts", {"width": 1, "latent": 20}),
    "steerable_resnet3d": ("volumes", {"width": 1, "latent": 5, "group": "O(3)"}),
    "residual_pathway_resnet3d": ("volumes", {"width": 1, "latent": 5}),
    "partially_steerable_resnet3d": ("volumes", {"width": 1, "latent": 5}),
    "steerable_field_cnn": ("flows", {"width": 2}),
    "residual_pathway_field_cnn": ("flows", {"width": 2}),
    "relaxed_steerable_field_cnn": ("flows", {"width": 2}),
    "partially_steerable_field_cnn": ("flows", {"width": 2}),
    # Not 4: a ReLU is at zero there but for rounding, and processors differ in its slope.
    "lift_field_cnn": ("flows", {"width": 3}),
    "relaxed_group_field_cnn": ("flows", {"width": 2}),
}
#: What baselines, which have a symmetry of their own, are trained with.
BASELINE_WITH = ("augmented", "autoregressive")
LEARNED_WITH = ("conv_autoencoder", "mlp_autoencoder", "gelu_cnn")
POINT = {"lr": 3e-3, "lambda": 0.5, "alpha": 50.0, "beta": 0.5}
BATCH = 16
#: Of the steps: small, so that the rounding of one hardly grows in the next.
RATE = 1e-4


def _nothing(done: int, total: int) -> None:
    pass


def prepared(name: str) -> tuple[Builder, dict[str, Any]]:
    """A builder and its arrays."""
    builder_name, group, parameters = DATA[name]
    made = dataset_builder(builder_name)
    builder = made(made.Parameters.model_validate(parameters), group_by_name(group))
    with tempfile.TemporaryDirectory() as folder:
        raw = RawStore(Path(folder))
        if builder_name == "medmnist3d":
            volumes.put(raw.folder, parameters["flag"], volumes.made_up(parameters["flag"]))
        with raw_archives.few_images():
            if builder_name == "arrays":
                pixels = np.arange(60 * 16).reshape(60, 1, 4, 4) % 251
                labels = np.arange(60) % 3
                np.savez(raw.folder / "own.npz", inputs=pixels.astype(np.uint8), labels=labels)
            if builder_name == "cifar10":
                raw_archives.put_binary(raw.folder)
            if builder_name == "typefaces":
                raw_archives.put_table(raw.folder)
            base = builder.build(raw, _nothing)
    return builder, {**base, **builder.augment(base, _nothing)}


def reproducible(arrays: dict[str, Any]) -> dict[str, Any]:
    """To train on: in place of fields that a solver made, which differ in rounding, drawn ones."""
    draw = np.random.Generator(np.random.PCG64(0)).random
    return {
        name: draw(array.shape).astype(array.dtype) if name == "velocity" else array
        for name, array in arrays.items()
    }


@cache
def dataset_of(name: str) -> Dataset:
    """One that is trained on, on the CPU."""
    builder, arrays = prepared(name)
    return builder.resident(reproducible(arrays), "cpu")


def of_data(arrays: dict[str, Any]) -> dict[str, Any]:
    """By array: the hash of what is exact; moments of what is computed in floating point."""
    found: dict[str, Any] = {}
    for name, array in sorted(arrays.items()):
        described = f"{array.dtype} {array.shape}"
        if array.dtype.kind == "f" or name.endswith("orbit"):
            flat = array.reshape(-1).astype(np.float64)
            weights = np.cos(np.arange(len(flat)) * 0.37)
            moments = flat.mean(), np.square(flat).mean(), (flat * weights).mean()
            found[name] = [described, *map(float, moments)]
        else:
            digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
            found[name] = [described, digest]
    return found


def trainings() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every packaged network with every objective of its task, and the objectives' choices."""
    for model in NETWORKS:
        for objective, entry in OBJECTIVES.items():
            if not _together(model, objective):
                continue
            choices = [
                (key, value)
                for key, field in entry.parameters.model_fields.items()
                if get_origin(field.annotation) is Literal
                for value in get_args(field.annotation)
            ]
            for choice in [dict([pair]) for pair in choices] or [{}]:
                yield model, objective, choice


def _together(model: str, objective: str) -> bool:
    """One that learns an action is tried with the networks that the paper learned one with."""
    task = prepared_task(model)
    if not (serves(MODELS[model].task, task) and serves(OBJECTIVES[objective].task, task)):
        return False
    if load(MODELS[model].target).__module__.startswith("equigrid.models.steerable_"):
        return objective in BASELINE_WITH
    if objective == "algebra_alone" or model == "no_network":
        return objective == "algebra_alone" and model == "no_network"
    return objective != "learned_representation" or model in LEARNED_WITH


def prepared_task(model: str) -> str:
    """Of the data that a model is tried with."""
    task: str = dataset_builder(DATA[NETWORKS[model][0]][0]).task
    return task


def of_training(dataset: Dataset, model: str, objective: str, settings: Any) -> dict[str, Any]:
    """Losses and gradient norms of three steps of descent, and the outputs in evaluation.

    Plain descent: Adam makes a whole step of a gradient that is nothing but rounding (a bias in
    front of a batch normalisation has one), which differs between processors.
    """
    entry = OBJECTIVES[objective]
    point = {name: POINT[name] for name in ("lr", *entry.searched)}
    trial = Trial(
        "meaning", "row", "data", "grid", {"name": model, **NETWORKS[model][1]},
        {"name": objective, **settings}, {}, point, 0, {},
    )  # fmt: skip
    network = build_model(trial, dataset, "cpu").train()
    loss_of = load(entry.target)(point, **settings)
    learned = list(network.parameters())
    if hasattr(loss_of, "prepare"):
        with seeded("cpu", 0, "preparation"):
            learned += getattr(loss_of.prepare(network, dataset), "parameters", list)()
        network.train()
    optimizer = torch.optim.SGD(learned, lr=RATE)
    task, table = task_named(dataset.task), torch.from_numpy(dataset.composition.copy())
    losses, norms = [], []
    for step in range(3):
        draw = {
            name: torch.randint(bound, (BATCH,), generator=stream(0, name, step))
            for name, bound in (
                ("rows", dataset.size("train")), ("a", dataset.group.order),
                ("g", dataset.group.order), ("first_draw", dataset.draws),
                ("second_draw", dataset.draws),
            )
        }  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        batch = Batch(dataset, **draw, composition=table)
        with seeded("cpu", 0, "training", step):
            loss = with_penalties(loss_of(network, batch, task), network)
        loss.total.backward()
        gradients = [p.grad.double().square().sum() for p in learned if p.grad is not None]
        losses.append(float(loss.total.detach().double()))
        norms.append(float(torch.stack(gradients).sum().sqrt()))
        if step == 0:
            outputs = _evaluated(network, dataset)
        optimizer.step()
    return {"losses": losses, "norms": norms, "outputs": outputs}


def _evaluated(network: torch.nn.Module, dataset: Dataset) -> float:
    """After one batch's statistics."""
    with torch.inference_mode():
        outputs = network.eval()(dataset.plain("val", torch.arange(4))).double()
    network.train()
    return float(outputs.square().mean().sqrt())


def figures() -> dict[str, Any]:
    """Everything that is stored."""
    torch.set_num_threads(1)
    made = {name: prepared(name) for name in DATA}
    residents = {
        name: made[name][0].resident(reproducible(made[name][1]), "cpu")
        for name, _ in NETWORKS.values()
    }
    return {
        "training_version": TRAINING_VERSION,
        "builder_versions": {name: dataset_builder(name).version for name in DATASETS},
        "data": {name: of_data(arrays) for name, (_, arrays) in made.items()},
        "training": {
            " ".join((model, objective, *settings.values())): of_training(
                residents[NETWORKS[model][0]], model, objective, settings
            )
            for model, objective, settings in trainings()
        },
    }


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps(figures(), indent=1) + "\n", "utf-8")
    print(f"written: {STORED}")
