"""Networks and what the registry says of them."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from pipeline.models.ddmnist_cnn import DDMNISTCNN
from pipeline.models.small_cnn import SmallCNN
from pipeline.models.trivial import MajorityClass
from pipeline.registry import MODELS, OBJECTIVES, load


def _parameters(model):
    return sum(value.numel() for value in model.parameters())


def test_the_double_digit_network_is_the_published_one():
    """33 742 parameters, the listing's spatial sizes, and a latent of 66 (paper, C.1)."""
    model = DDMNISTCNN((1, 56, 56), 100)
    assert _parameters(model) == 33742
    x, sizes = torch.zeros(2, 1, 56, 56), []
    for layer in model.encoder:
        x = layer(x)
        sizes.append(x.shape[-1])
    assert sizes[:9] == [57, 55, 55, 27, 15, 7, 3, 3, 1]
    assert x.shape == (2, 66)


#: The listing of C.1 with c = 6 and 100 classes; layers without settings are left out.
LISTING = [
    "upsample 57 nearest",
    "conv 1 6 7 1 2", "norm 6", "elu",
    "conv 6 12 5 1 2", "norm 12", "elu",
    "pool 5 2 1",
    "conv 12 24 3 2 2", "norm 24", "elu",
    "pool 5 2 1",
    "conv 24 36 3 2 0", "norm 36", "elu",
    "conv 36 36 3 1 1", "norm 36", "elu",
    "pool 5 1 1",
    "conv 36 66 1 1 0",
    "norm 66", "elu", "linear 66 100",
]  # fmt: skip


def _line(layer):
    def one(value):
        return value if isinstance(value, int) else value[0]

    match layer:
        case nn.Upsample():
            return f"upsample {one(layer.size)} {layer.mode}"
        case nn.Conv2d():
            sizes = map(one, (layer.kernel_size, layer.stride, layer.padding))
            return " ".join(map(str, ("conv", layer.in_channels, layer.out_channels, *sizes)))
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            return f"norm {layer.num_features}"
        case nn.AvgPool2d():
            return " ".join(
                map(str, ("pool", *map(one, (layer.kernel_size, layer.stride, layer.padding))))
            )
        case nn.Linear():
            return f"linear {layer.in_features} {layer.out_features}"
    return type(layer).__name__.lower()


def test_the_double_digit_network_follows_the_listing():
    model = DDMNISTCNN((1, 56, 56), 100)
    layers = [layer for layer in model.modules() if not list(layer.children())]
    lines = [_line(layer) for layer in layers]
    assert [line for line in lines if line != "flatten"] == LISTING


def test_the_latent_comes_before_its_normalisation():
    """Latent = output of the last 1×1 convolution, before its BatchNorm and ELU."""
    model = DDMNISTCNN((1, 56, 56), 100)
    *_, last, flatten = model.encoder
    assert (type(last), last.kernel_size) == (nn.Conv2d, (1, 1))
    assert type(flatten) is nn.Flatten
    assert [type(layer) for layer in model.head] == [nn.BatchNorm1d, nn.ELU, nn.Linear]


@pytest.mark.parametrize(
    ("model", "shape"), [(DDMNISTCNN, (1, 56, 56)), (SmallCNN, (1, 16, 16)), (SmallCNN, (3, 9, 13))]
)
def test_a_network_is_its_head_after_its_encoder(model, shape):
    network = model(shape, 7, latent=12).eval()
    assert network.training is False
    x = torch.randn(3, *shape)
    latent = network.encode(x)
    assert latent.shape == (3, 12)
    torch.testing.assert_close(network(x), network.head(latent), rtol=0, atol=0)
    assert network(x).shape == (3, 7)


def test_the_small_network_starts_with_fresh_statistics():
    """Measuring its own output size must leave no trace in the normalisation, nor eval mode."""
    model = SmallCNN((1, 16, 16), 4)
    assert all(module.training for module in model.modules())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3
    for norm in norms:
        assert norm.num_batches_tracked == 0
        assert (norm.running_mean == 0).all()


def test_the_majority_class_is_the_lowest_among_the_most_frequent():
    model = MajorityClass(torch.tensor([3, 1, 1, 3, 2]), 5)
    assert model(torch.zeros(4, 1, 2, 2)).argmax(1).tolist() == [1] * 4
    assert model(torch.zeros(4, 1)).shape == (4, 5)
    assert _parameters(model) == 0


def _settable(target):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_registry_tells_of_a_model_what_its_signature_says(name):
    entry = MODELS[name]
    target = load(entry.target)
    assert entry.defaults == _settable(target)
    assert entry.trivial == getattr(target, "trivial", False)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_registry_tells_of_an_objective_what_it_says_itself(name):
    entry = OBJECTIVES[name]
    target = load(entry.target)
    assert entry.defaults == _settable(target)
    assert entry.searched == ("lr", *getattr(target, "searched", ()))
    assert entry.passes == getattr(target, "passes", 1)
    assert entry.needs_latent == getattr(target, "needs_latent", False)
    assert set(entry.choices) <= set(entry.defaults)
    for key, allowed in entry.choices.items():
        assert entry.defaults[key] in allowed
        for value in allowed:
            target({"lr": 1.0, "lambda": 1.0}, **{key: value})
