"""A training step with torch's own batch normalisation and with ours, and how far each is off.

Floor: the same network in the same channels-last layout with torch's own normalisation, and in
contiguous layout, where torch's own is right. Apart: ours, with the activation in a pass of its
own. All take turns, step by step.

    python benchmarks/normalisation.py [--rounds 9] [--json FILE]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from common import Report, begin, overhead, side_by_side, wall
from torch import nn

from equigrid.models.ddmnist_cnn import DDMNISTCNN
from equigrid.models.field_cnn import FieldCNN
from equigrid.models.resnet3d import ResNet3D
from equigrid.models.small_cnn import SmallCNN
from equigrid.training.normalisation import Sequential, with_accurate_sums

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
#: Goal: percent that a step may take longer.
GOAL = 3.0

#: By name: the network, a batch of its trainings, and how many steps make a round.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "ddmnist_cnn, 256": (lambda: DDMNISTCNN((1, 56, 56), 100), (256, 1, 56, 56), 1),
    "ddmnist_cnn, 64": (lambda: DDMNISTCNN((1, 56, 56), 100), (64, 1, 56, 56), 3),
    "small_cnn, 64": (lambda: SmallCNN((1, 16, 16), 25, width=12), (64, 1, 16, 16), 30),
    "resnet3d 28³, 32": (lambda: ResNet3D((1, 28, 28, 28), 2), (32, 1, 28, 28, 28), 1),
    "resnet3d 14³, 32": (lambda: ResNet3D((1, 14, 14, 14), 2), (32, 1, 14, 14, 14), 2),
    "field_cnn 32², 16": (lambda: FieldCNN((20, 32, 32), 2, width=32), (16, 20, 32, 32), 5),
}  # fmt: skip


def steps(name: str, layout: str) -> Callable[[], None]:
    """A round of training steps. layout: own, right, apart (all channels-last) or contiguous."""
    make, shape, count = NETWORKS[name]
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    if layout in ("right", "apart"):
        with_accurate_sums(model)
    for module in model.modules():
        if layout == "apart" and isinstance(module, Sequential):
            module.__class__ = nn.Sequential
    if layout != "contiguous":
        model = model.to(memory_format=LAYOUTS[len(shape)])  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters())

    def round_of() -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            model(x).square().mean().backward()
            optimizer.step()

    return round_of


def accuracy(report: Report) -> None:
    """Largest error of the output of 256×12×55×55 numbers, mean 1, std 2, against float64."""
    torch.manual_seed(0)
    x = torch.randn(256, 12, 55, 55) * 2 + 1
    right = nn.BatchNorm2d(12).double()(x.double()).detach()
    last, ours = x.contiguous(memory_format=torch.channels_last), nn.BatchNorm2d(12)
    with_accurate_sums(ours)
    for what, found in (
        ("torch's own, channels-last", nn.BatchNorm2d(12)(last)),
        ("torch's own, contiguous", nn.BatchNorm2d(12)(x)),
        ("ours, channels-last", ours(last)),
    ):
        report.show(
            f"error of the output, {what}", float((found.detach() - right).abs().max()), "", 1
        )


def main() -> None:
    report, options = begin(__doc__, rounds=9)
    accuracy(report)
    for name, (_, _, count) in NETWORKS.items():
        found = side_by_side(
            options.rounds,
            own=steps(name, "own"),
            right=steps(name, "right"),
            apart=steps(name, "apart"),
            contiguous=steps(name, "contiguous"),
        )
        n = options.rounds
        for layout, seconds in found.items():
            report.show(f"a step of {name}, {layout}", 1e3 * wall(seconds) / count, "ms", n)
        over = overhead(found["right"], found["own"])
        report.show(f"  ours over torch's own, {name}", over, "%", n, GOAL)
        gain = overhead(found["right"], found["apart"])
        report.show(f"  over the activation apart, {name}", gain, "%", n)
    report.close()


if __name__ == "__main__":
    main()
