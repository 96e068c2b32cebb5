"""A training step of each steerable row, and what its symmetry costs.

Beside each: the plain network of its table, and the same network with a plain convolution of the
same channels in place of each steerable one (the floor: it lacks only making the filters).
They take turns, step by step, in a process that keeps its memory as a worker's does. Table 4's
networks as published, batches of 64; those of tables 5 and 6 as in the profile `small`. Build:
making the network with nothing kept from another one.

    python benchmarks/steerable.py [--rounds 5] [--table 4|5|6] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from common import Report, begin, overhead, side_by_side, timed, wall
from torch import nn

from equigrid.lookup import load
from equigrid.registry import MODELS
from equigrid.steerable import kernels, partial
from equigrid.steerable.layers import Expanding
from equigrid.symmetry import group_by_name
from equigrid.training.memory import keep_freed

#: Per cent of a step over that of plain convolutions with the same channels.
GOAL = 15
PLAIN = {2: nn.Conv2d, 3: nn.Conv3d}
#: Of a table: the batch, the input, outputs, the plain network, and rows (model, group, settings).
TABLES: dict[str, tuple[int, tuple[int, ...], int, str, list[tuple[str, str, dict[str, Any]]]]] = {
    "4": (64, (1, 56, 56), 100, "ddmnist_cnn", [
        (model, group, {})
        for group in ("D1", "C4", "D4")
        for model in ("steerable_cnn", "residual_pathway_cnn", "partially_steerable_cnn")
    ]),
    "5": (32, (1, 14, 14, 14), 2, "resnet3d", [
        (model, group, {"width": 1})
        for group in ("SO(3)", "O(3)")
        for model in ("steerable_resnet3d", "residual_pathway_resnet3d",
                      "partially_steerable_resnet3d")
    ]),
    "6": (16, (20, 32, 32), 2, "field_cnn", [
        (model, "C4", {"width": 32})
        for model in ("steerable_field_cnn", "residual_pathway_field_cnn",
                      "relaxed_steerable_field_cnn", "partially_steerable_field_cnn",
                      "lift_field_cnn", "relaxed_group_field_cnn")
    ]),
}  # fmt: skip


def make(model: str, shape: tuple[int, ...], outputs: int, group: str, **settings: Any) -> Any:
    entry = MODELS[model]
    if entry.by_group:
        settings["group"] = group_by_name(group)
    elif "group" in entry.parameters.model_fields:
        settings["group"] = group
    return load(entry.target)(shape, outputs, **settings)


def with_plain_convolutions(module: nn.Module) -> nn.Module:
    """Each steerable convolution replaced by a plain one of the same channels."""
    for name, child in module.named_children():
        if isinstance(child, Expanding):
            plain = PLAIN[child.into.group.dimension](
                child.into.channels, child.out.channels, child.size, stride=child.stride,
                padding=child.padding, bias=child.full_bias() is not None,
            )  # fmt: skip
            setattr(module, name, plain)
        else:
            with_plain_convolutions(child)
    return module


def step_of(model: Any, x: torch.Tensor, penalties: bool = False) -> Callable[[], None]:
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    model.to(memory_format=layout).train()
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        loss = model(x).square().mean()
        if penalties and hasattr(model, "penalties"):
            loss = loss + sum(weight * value for weight, value in model.penalties().values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def forget() -> None:
    """Empty what a process keeps of bases, so that a build is a first one."""
    for module in (kernels, partial):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def main() -> None:
    report, options = begin(__doc__, rounds=5, table=0)
    keep_freed()
    for table in TABLES if not options.table else [str(options.table)]:
        measure(report, table, options.rounds)
    report.close()


def measure(report: Report, table: str, rounds: int) -> None:
    batch, shape, outputs, plain, rows = TABLES[table]
    x = torch.randn(batch, *shape)
    base = step_of(make(plain, shape, outputs, "C4"), x)
    for model, group, settings in rows:
        forget()
        build = timed(lambda: make(model, shape, outputs, group, **settings)).wall  # noqa: B023
        steps = {"base": base}
        steps["row"] = step_of(make(model, shape, outputs, group, **settings), x, penalties=True)
        copied = make(model, shape, outputs, group, **settings)
        if any(isinstance(it, Expanding) for it in copied.modules()):
            steps["floor"] = step_of(with_plain_convolutions(copied), x)
        found = side_by_side(rounds, **steps)
        name = f"{model} {group}"
        report.show(f"{name}: build", build, "s", 1)
        report.show(f"{name}: step of {batch}", wall(found["row"]), "s", rounds)
        ratio = wall(found["row"]) / wall(found["base"])
        report.show(f"{name}: of a step of {plain}", ratio, "times", rounds)
        if "floor" in found:
            over = overhead(found["row"], found["floor"])
            report.show(f"{name}: over plain convolutions as wide", over, "%", rounds, GOAL)


if __name__ == "__main__":
    main()
