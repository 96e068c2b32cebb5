"""Batch normalisation as our networks are trained with it, against double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from equigrid.models.ddmnist_cnn import DDMNISTCNN
from equigrid.models.field_cnn import FieldCNN
from equigrid.models.resnet3d import ResNet3D
from equigrid.models.small_cnn import SmallCNN
from equigrid.training.normalisation import BatchNorm2d, BatchNorm3d, with_accurate_sums

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
#: Of numbers of standard deviation 2: outputs have 1.
TOLERANCE = 5e-6

#: Each network with the inputs that its trainings have.
NETWORKS = {
    "ddmnist_cnn": (lambda: DDMNISTCNN((1, 56, 56), 100), (128, 1, 56, 56)),
    "small_cnn": (lambda: SmallCNN((1, 16, 16), 25), (64, 1, 16, 16)),
    "resnet3d": (lambda: ResNet3D((1, 28, 28, 28), 11, width=3), (8, 1, 28, 28, 28)),
    "field_cnn": (lambda: FieldCNN((20, 32, 32), 2, width=16), (16, 20, 32, 32)),
}


def _normalisations(model: nn.Module, example: torch.Tensor) -> list[tuple[nn.Module, torch.Size]]:
    """Every normalisation of a network, with the shape of what goes in."""
    shapes: dict[nn.Module, torch.Size] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(
                lambda m, inputs: shapes.__setitem__(m, inputs[0].shape)
            )
    with torch.no_grad():
        model(example)
    return list(shapes.items())


def _steps(module: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Output, running statistics and gradients of a step."""
    x = x.detach().requires_grad_()
    y = module(x)
    y.backward(gradient)
    return {
        "output": y.detach(), "mean": module.running_mean, "variance": module.running_var,
        "input": x.grad, "weight": module.weight.grad, "bias": module.bias.grad,
    }  # fmt: skip


def _error(found: torch.Tensor, right: torch.Tensor) -> float:
    scale = max(1.0, float(right.abs().max()))
    return float((found.double() - right).abs().max()) / scale


@pytest.mark.parametrize("name", NETWORKS)
def test_every_normalisation_of_ours_is_right(name: str) -> None:
    """Output, running statistics and gradients; inputs of mean 1 and standard deviation 2."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    with_accurate_sums(model)
    found = _normalisations(model, torch.randn(shape))
    assert found
    for module, seen in found:
        assert isinstance(module, BatchNorm2d | BatchNorm3d | nn.BatchNorm1d)
        nn.init.uniform_(module.weight, 0.5, 1.5)
        module.reset_running_stats()
        module.zero_grad(set_to_none=True)
        exact = copy.deepcopy(module).double()
        x, gradient = torch.randn(seen) * 2 + 1, torch.randn(seen) / seen.numel() ** 0.5
        expected = _steps(exact, x.double(), gradient.double())
        if x.ndim in LAYOUTS:
            x = x.contiguous(memory_format=LAYOUTS[x.ndim])
        for what, value in _steps(module, x, gradient).items():
            assert _error(value, expected[what]) < TOLERANCE, (what, seen)


def test_torch_s_own_is_not_which_is_why() -> None:
    """In channels-last layout; a torch that mends it makes ours needless."""
    torch.manual_seed(0)
    own, right = nn.BatchNorm2d(12), nn.BatchNorm2d(12).double()
    x = torch.randn(256, 12, 55, 55) * 2 + 1
    last = x.contiguous(memory_format=torch.channels_last)
    assert _error(own(last).detach(), right(x.double()).detach()) > 10 * TOLERANCE


@pytest.mark.parametrize("shift", [0.0, 100.0])
@pytest.mark.parametrize("shape", [(65, 3, 9, 9), (7, 5, 1, 40, 41), (3000, 2, 1, 3)])
def test_any_shape_and_mean(shape: tuple[int, ...], shift: float) -> None:
    """Rows that are no multiple of anything; means far beyond the deviation."""
    torch.manual_seed(1)
    module = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)](shape[1])
    with_accurate_sums(nn.Sequential(module))
    exact = copy.deepcopy(module).double()
    x, gradient = torch.randn(shape) + shift, torch.randn(shape) / 10
    expected = _steps(exact, x.double(), gradient.double())
    found = _steps(module, x.contiguous(memory_format=LAYOUTS[x.ndim]), gradient)
    for what, value in found.items():
        assert _error(value, expected[what]) < TOLERANCE * (1 + shift), what


def test_nothing_else_of_a_model_changes() -> None:
    """Names, evaluation, other layouts and settings, subclasses; and gradients of gradients."""

    class Own(nn.BatchNorm2d):
        pass

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.BatchNorm2d(3), Own(3), nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3, momentum=None),
    )  # fmt: skip
    plain = copy.deepcopy(model)
    with_accurate_sums(model)
    assert type(model[1]) is Own
    assert list(model.state_dict()) == list(plain.state_dict())
    x = torch.randn(20, 3, 16, 16)
    for _ in range(3):
        assert torch.equal(model(x), plain(x))
        last = x.contiguous(memory_format=torch.channels_last)
        assert torch.allclose(model(last), plain(x), atol=1e-4)
        plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(last), plain.eval()(last))

    first = nn.BatchNorm2d(2).double()
    second = copy.deepcopy(first).float()
    with_accurate_sums(second)
    norms = []
    x = torch.randn(50, 2, 12, 12)
    for module, given in (
        (first, x.double()), (second, x.contiguous(memory_format=torch.channels_last)),
    ):  # fmt: skip
        given = given.requires_grad_()
        (slope,) = torch.autograd.grad(module(given).pow(3).sum(), given, create_graph=True)
        slope.square().sum().backward()
        norms.append(float(given.grad.double().norm()))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def _one_by_one(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    for module in model:
        x = module(x)
    return x


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [nn.ELU(), nn.ELU(0.5), nn.ReLU()])
def test_an_activation_in_the_same_go_changes_nothing(activation, kind) -> None:
    """Output, running statistics and gradients, as if it came after; also of rows left over.

    To the bit in single precision; of a bf16 input what is handed on is rounded to bf16, once.
    """
    torch.manual_seed(2)
    model = nn.Sequential(nn.BatchNorm2d(5), activation, nn.BatchNorm2d(5), nn.BatchNorm2d(5))
    nn.init.normal_(model[0].weight)
    with_accurate_sums(model)
    last = torch.channels_last
    x = (torch.randn(70, 5, 9, 9) * 2 + 1).to(kind).contiguous(memory_format=last)
    gradient = torch.randn(70, 5, 9, 9).contiguous(memory_format=last)
    found = []
    for each, forward in ((model, nn.Module.__call__), (copy.deepcopy(model), _one_by_one)):
        given = x.clone().requires_grad_()
        y = forward(each, given)
        y.backward(gradient)
        gradients = [parameter.grad for parameter in each.parameters()]
        found.append([y.detach(), given.grad, *gradients, *each.buffers()])
    for together, apart in zip(*found, strict=True):
        if kind == torch.float32:
            assert torch.equal(together, apart)
        else:
            near = max(0.005 * float(apart.abs().max()), 1e-4)
            torch.testing.assert_close(together.float(), apart.float(), rtol=0.01, atol=near)
    assert torch.equal(model.eval()(x), _one_by_one(model, x))
    assert torch.equal(model[:1](x), model[0](x))  # a part of it is activated no more


def test_gradients_of_gradients_go_through_the_activation() -> None:
    torch.manual_seed(3)
    exact = nn.Sequential(nn.BatchNorm2d(2), nn.ELU()).double()
    ours = copy.deepcopy(exact).float()
    with_accurate_sums(ours)
    x = torch.randn(50, 2, 12, 12).contiguous(memory_format=torch.channels_last)
    second = []
    for model, given in ((exact, x.double().requires_grad_()), (ours, x.requires_grad_())):
        (slope,) = torch.autograd.grad(model(given).pow(3).sum(), given, create_graph=True)
        slope.square().sum().backward()
        second.append(given.grad.double())
    assert _error(second[1], second[0]) < 1e-4
