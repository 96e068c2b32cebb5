"""The steerable networks: parameters to the unit, and equivariance of the whole."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from equigrid.config.experiment import load_experiment
from equigrid.models.steerable_cnn import (
    PartiallySteerableCNN,
    ResidualPathwayCNN,
    SteerableCNN,
)
from equigrid.models.steerable_field_cnn import (
    LiftFieldCNN,
    PartiallySteerableFieldCNN,
    RelaxedGroupFieldCNN,
    RelaxedSteerableFieldCNN,
    ResidualPathwayFieldCNN,
    SteerableFieldCNN,
)
from equigrid.models.steerable_resnet3d import (
    PartiallySteerableResNet3D,
    ResidualPathwayResNet3D,
    SteerableResNet3D,
)
from equigrid.steerable import (
    AntialiasedPool,
    ComponentNorm,
    FieldNorm,
    FieldType,
    RelaxedGroupConvolution,
    steering_group,
)
from equigrid.symmetry import direct_product, group_by_name

Make = Any


def count(model: nn.Module) -> int:
    return sum(it.numel() for it in model.parameters())


@pytest.mark.parametrize(
    ("make", "settings", "counts"),
    [
        (SteerableCNN, {}, (116_632, 28_132, 145_636)),
        (SteerableCNN, {"latent": 66}, (119_116, 30_616, 148_120)),
        (SteerableCNN, {"restrict_after": 4}, (124_192, 33_316, 169_828)),
        (SteerableCNN, {"restrict_after": 4, "latent": 66}, (126_676, 35_800, 172_312)),
        (ResidualPathwayCNN, {}, (793_696, 78_340, 1_733_404)),
        (ResidualPathwayCNN, {"latent": 66}, (798_772, 81_472, 1_739_776)),
        (PartiallySteerableCNN, {}, (509_416, 38_596, 1_226_092)),
        (PartiallySteerableCNN, {"repeated_columns": False}, (447_496, 38_596, 1_040_332)),
    ],
)
def test_double_digit_networks_have_the_parameters_counted(
    make: Make, settings: dict[str, Any], counts: tuple[int, ...]
) -> None:
    for name, want in zip(("C4", "D1", "D4"), counts, strict=True):
        one = group_by_name(name)
        for group in (one, direct_product(one, one)):
            assert count(make((1, 56, 56), 100, group=group, **settings)) == want


@pytest.mark.parametrize(
    ("make", "settings", "so3", "o3"),
    [
        (SteerableResNet3D, {}, 128_450, 192_800),
        (ResidualPathwayResNet3D, {}, 18_263_786, 29_292_200),
        (ResidualPathwayResNet3D, {"blocks": "released"}, 18_263_786, 29_292_200),
        (PartiallySteerableResNet3D, {}, 4_166_339, 3_511_682),
        (PartiallySteerableResNet3D, {"repeated_columns": False}, 1_593_635, 3_511_682),
    ],
)
def test_volume_networks_have_the_parameters_counted(
    make: Make, settings: dict[str, Any], so3: int, o3: int
) -> None:
    for name, want in (("SO(3)", so3), ("O(3)", o3)):
        two = count(make((1, 28, 28, 28), 2, group=name, **settings))
        assert two == want
    if make is SteerableResNet3D:
        assert count(make((1, 28, 28, 28), 11)) == so3 + 441


@pytest.mark.parametrize(
    ("make", "settings", "want"),
    [
        (SteerableFieldCNN, {}, 622_656),
        (SteerableFieldCNN, {"normalisation": "components"}, 622_656),
        (ResidualPathwayFieldCNN, {}, 4_355_650),
        (RelaxedSteerableFieldCNN, {}, 5_596_178 - 4 * 2 * 92),  # less norms that nothing uses
        (PartiallySteerableFieldCNN, {}, 3_121_028),
        (LiftFieldCNN, {}, 8_227_652),
        (LiftFieldCNN, {"normalisation": "components"}, 8_227_652),
        (RelaxedGroupFieldCNN, {}, 1_874_632),
        (RelaxedGroupFieldCNN, {"start": "released"}, 1_874_632),
    ],
)
def test_flow_networks_have_the_parameters_counted(
    make: Make, settings: dict[str, Any], want: int
) -> None:
    assert count(make((20, 64, 64), 2, group=group_by_name("C4"), **settings)) == want


@pytest.fixture(autouse=True)
def _in_doubles() -> Any:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def trained(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 2) -> nn.Module:
    """After some steps, so that nothing is left at its start."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = (model(x) - y).square().mean()
        if hasattr(model, "penalties"):
            loss = loss + sum(weight * value for weight, value in model.penalties().values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


PLANE = {
    "C4": [lambda x: x.rot90(1, (2, 3)), lambda x: x.rot90(2, (2, 3))],
    "D1": [lambda x: x.flip(3)],
    "D4": [lambda x: x.rot90(1, (2, 3)), lambda x: x.flip(3), lambda x: x.rot90(1, (2, 3)).flip(2)],
}


@pytest.mark.parametrize("name", PLANE)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_whole_network_is_invariant_to_turns_and_flips(name: str, steps: int) -> None:
    x, y = torch.randn(3, 1, 56, 56), torch.randn(3, 5)
    model = SteerableCNN((1, 56, 56), 5, group=group_by_name(name), width=2)
    model = trained(model, x, y, steps)
    with torch.no_grad():
        for act in PLANE[name]:
            torch.testing.assert_close(model(act(x)), model(x), atol=1e-12, rtol=0)
        if name != "D4":  # and to nothing else
            other = x.flip(2)
            assert (model.encode(other) - model.encode(x)).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["C4", "D1"])
def test_what_may_break_the_symmetry_does_so_after_training_and_only_then(name: str) -> None:
    x, y = torch.randn(3, 1, 56, 56), torch.randn(3, 5)
    act = PLANE[name][0]
    group = group_by_name(name)
    partial = PartiallySteerableCNN((1, 56, 56), 5, group=group, width=1)
    residual = ResidualPathwayCNN((1, 56, 56), 5, group=group, width=1)
    for module in residual.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.zero_()
            if module.bias is not None:
                module.bias.data.zero_()
    for model in (partial, residual):
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(act(x)), model(x), atol=1e-12, rtol=0)
        trained(model.train(), x, y)
        with torch.no_grad():
            assert (model(act(x)) - model(x)).abs().max() > 1e-6


def test_restriction_forgets_the_group_after_its_block() -> None:
    x = torch.randn(3, 1, 56, 56)
    model = SteerableCNN((1, 56, 56), 5, group=group_by_name("C4"), width=1, restrict_after=4)
    with torch.no_grad():
        assert (model.eval()(x.rot90(1, (2, 3))) - model(x)).abs().max() > 1e-6


def cube(mirrored: bool) -> list[Any]:
    """The 24 rotations of a volume's axes, and the 24 with −1, as functions."""
    found = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = torch.zeros(3, 3)
            for row, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
                matrix[row, axis] = sign
            if torch.linalg.det(matrix) < 0 and not mirrored:
                continue
            flips = [2 + n for n, sign in enumerate(signs) if sign < 0]
            found.append(
                lambda x, axes=axes, flips=flips: x.permute(0, 1, *(2 + a for a in axes)).flip(
                    flips
                )
            )
    return found


@pytest.mark.parametrize("make", [SteerableResNet3D, PartiallySteerableResNet3D])
@pytest.mark.parametrize("name", ["SO(3)", "O(3)"])
def test_networks_of_volumes_are_invariant_to_the_cube_s_elements(make: Make, name: str) -> None:
    x = torch.randn(2, 1, 14, 14, 14)
    model = make((1, 14, 14, 14), 3, group=name, width=1)
    if make is SteerableResNet3D:
        model = trained(model, x, torch.randn(2, 3))
    elements = cube(name == "O(3)")
    assert len(elements) == (48 if name == "O(3)" else 24)
    model.eval()
    with torch.no_grad():
        z = model.encode(x)
        for act in elements:
            torch.testing.assert_close(model.encode(act(x)), z, atol=1e-10, rtol=1e-10)
        if name == "SO(3)":
            assert (model.encode(x.flip(2)) - z).abs().max() > 1e-6


def quarter(x: torch.Tensor) -> torch.Tensor:
    """Vectors on a grid whose rows go with y: the grid turns and (u, v) becomes (v, −u)."""
    turned = x.rot90(1, (2, 3)).reshape(len(x), -1, 2, *x.shape[2:])
    return torch.stack([turned[:, :, 1], -turned[:, :, 0]], 2).flatten(1, 2)


@pytest.mark.parametrize(
    ("make", "settings", "holds"),
    [
        (SteerableFieldCNN, {}, (True, True)),
        (SteerableFieldCNN, {"normalisation": "components"}, (True, True)),
        (PartiallySteerableFieldCNN, {}, (True, False)),
        (RelaxedSteerableFieldCNN, {}, (True, False)),
        (ResidualPathwayFieldCNN, {}, (False, False)),
        (LiftFieldCNN, {}, (False, False)),
    ],
)
def test_flows_are_continued_equivariantly(
    make: Make, settings: dict[str, Any], holds: tuple[bool, bool]
) -> None:
    """At the start, and after training. RPP has free filters and Lift a free MLP from the start."""
    x, y = torch.randn(3, 8, 12, 12), torch.randn(3, 2, 12, 12)
    model = make((8, 12, 12), 2, group=group_by_name("C4"), width=3, **settings)
    first = torch.ones(3, dtype=torch.long)
    for steps, equivariant in zip((0, 2), holds, strict=True):
        trained(model.train(), x, y, steps)
        with torch.no_grad():
            gap = (model(quarter(x)) - quarter(model(x))).abs().max()
            latent = model.latent_action(first, model.encode(x)) - model.encode(quarter(x))
        assert (gap < 1e-12) == equivariant, gap
        assert (latent.abs().max() < 1e-12) == equivariant


@pytest.mark.parametrize("make", [SteerableFieldCNN, LiftFieldCNN])
def test_components_are_normalised_as_one_with_a_gradient(make: Make) -> None:
    """All four of a regular field's, by the formula of batch normalisation."""
    model = make(
        (8, 12, 12), 2, group=group_by_name("C4"), width=3, normalisation="components"
    ).train()  # fmt: skip
    norms = [it for it in model.encoder if isinstance(it, ComponentNorm)]
    assert len(norms) == 4
    assert not any(isinstance(it, FieldNorm) for it in model.modules())
    x, direction = torch.randn(2, 5, 12, 6, 6)
    mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found = norms[0](mine)
    fields = theirs.reshape(5, 4, 3, 6, 6)  # component by component
    mean = fields.mean((0, 1, 3, 4), keepdim=True)
    variance = fields.var((0, 1, 3, 4), correction=0, keepdim=True)
    expected = ((fields - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
    torch.testing.assert_close(found, expected)
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(norms[0].norm.running_mean, 0.1 * mean.detach().flatten())


def test_only_regular_fields_of_the_plane_are_normalised_by_components() -> None:
    of = FieldType(steering_group(group_by_name("C4")), ("trivial", "regular"), 2)
    with pytest.raises(ValueError, match=r"trivial\+regular of C4: allowed: regular"):
        ComponentNorm(of)


def test_released_residual_blocks_have_box_means_and_activated_skips() -> None:
    """Pools by kernel, stride and padding; penalties of all that a block has."""
    model = ResidualPathwayResNet3D((1, 14, 14, 14), 2, width=1, blocks="released")
    boxes = [it for it in model.free.modules() if isinstance(it, nn.AvgPool3d)]
    assert [(it.kernel_size, it.stride, it.padding) for it in boxes] == [
        (5, 2, 1), (3, 1, 0), (5, 2, 0)
    ]  # fmt: skip
    assert not any(isinstance(it, AntialiasedPool) for it in model.free.modules())
    plain = ResidualPathwayResNet3D((1, 14, 14, 14), 2, width=1)
    plain.load_state_dict(model.state_dict())  # weights of either have the same names
    x = torch.randn(2, 1, 15, 15, 15)
    with torch.no_grad():
        skip = model.free.skips[0](x)
        gap = model.eval().free(1, x) - plain.eval().free(1, x)
        torch.testing.assert_close(gap, nn.functional.elu(skip) - skip)
        assert gap.abs().max() > 1e-3
        assert model(x[..., :14, :14, :14]).shape == (2, 2)
    weights = {"steerable": 0.0, "free": 0.0}
    for name, weight in model.named_parameters():
        if not name.startswith("head"):
            weights["free" if name.startswith("free") else "steerable"] += weight.square().sum()
    for name, (_, value) in model.penalties().items():
        torch.testing.assert_close(value, weights[name.removesuffix("_squares")])
        assert value > plain.penalties()[name][1]


def test_released_group_convolutions_start_with_filters_half_as_large() -> None:
    made = []
    for start in ("fan_in", "released"):
        torch.manual_seed(0)
        made.append(
            RelaxedGroupFieldCNN((8, 12, 12), 2, group=group_by_name("C4"), width=3, start=start)
        )
    filters = [
        [torch.tensordot(it.weights, it.banks, 1) for it in model.modules()
         if isinstance(it, RelaxedGroupConvolution)]
        for model in made
    ]  # fmt: skip
    assert [it.weights.unique().item() for it in made[1].hidden] == [1 / 8] * 3
    for layer, (before, now) in enumerate(zip(*filters, strict=True)):
        torch.testing.assert_close(now, before if layer == 0 else before / 2)


@pytest.mark.parametrize("profile", [None, "small", "optimum"])
def test_tables_5_and_6_have_the_networks_of_the_authors_code(profile: str | None) -> None:
    """Whatever else a profile says of a row's model."""
    smoke, volumes = (load_experiment(name, profile) for name in ("smoke", "medmnist3d"))
    for row in ("E2CNN", "Lift"):
        assert smoke.rows[row].model["normalisation"] == "components"
    assert smoke.rows["RGroup"].model["start"] == "released"
    for row in ("RPP SO(3)", "RPP O(3)"):
        assert volumes.rows[row].model["blocks"] == "released"


def test_what_an_mlp_lifts_alone_breaks_the_symmetry() -> None:
    x = torch.randn(3, 8, 12, 12)
    model = LiftFieldCNN(
        (8, 12, 12), 2, group=group_by_name("C4"), width=4, normalisation="components"
    )
    last = model.lift[-1]
    assert isinstance(last, nn.Linear)
    # The same for each component of a regular field: a scalar, which no turn moves.
    last.weight.data.zero_()
    last.bias.data = torch.randn(1).repeat(4)
    model(x)
    with torch.no_grad():
        gap = (model.eval()(quarter(x)) - quarter(model(x))).abs().max()
    assert gap < 1e-12


def test_relaxed_group_convolutions_turn_scalars_until_their_weights_differ() -> None:
    x = torch.randn(3, 8, 12, 12)
    model = RelaxedGroupFieldCNN((8, 12, 12), 2, group=group_by_name("C4"), width=3).eval()
    first = torch.ones(3, dtype=torch.long)
    with torch.no_grad():
        turned = model.encode(x.rot90(1, (2, 3)))
        torch.testing.assert_close(model.latent_action(first, model.encode(x)), turned)
        model.lift.weights[0, 0] += 0.5
        turned = model.encode(x.rot90(1, (2, 3)))
        assert (model.latent_action(first, model.encode(x)) - turned).abs().max() > 1e-3
    with pytest.raises(ValueError, match="allowed: C4"):
        RelaxedGroupFieldCNN((8, 12, 12), 2, group=group_by_name("D4"))
