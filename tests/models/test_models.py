"""Networks and what the registry says of them."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from equigrid.lookup import load
from equigrid.models.ddmnist_cnn import DDMNISTCNN
from equigrid.models.field_cnn import FieldCNN
from equigrid.models.field_mlp import FieldMLP
from equigrid.models.resnet3d import ResNet3D
from equigrid.models.small_cnn import SmallCNN
from equigrid.models.trivial import MajorityClass, Persistence
from equigrid.parameters import parameters_of
from equigrid.registry import MODELS, OBJECTIVES


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
        case nn.Conv2d() | nn.Conv3d():
            sizes = map(one, (layer.kernel_size, layer.stride, layer.padding))
            return " ".join(map(str, ("conv", layer.in_channels, layer.out_channels, *sizes)))
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            return f"norm {layer.num_features}"
        case nn.AvgPool2d() | nn.AvgPool3d():
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


@pytest.mark.parametrize(
    ("outputs", "settings", "parameters"),
    [(2, {}, 141998), (11, {}, 142439), (2, {"width": 7, "latent": 56}, 191942)],
)
@pytest.mark.parametrize("side", [28, 14])
def test_the_network_for_volumes_is_the_published_one(outputs, settings, parameters, side):
    """The listing of C.2; pooled volumes take the same. Width 7: the published 0.19 M."""
    model = ResNet3D((1, side, side, side), outputs, **settings).eval()
    assert _parameters(model) == parameters
    with torch.inference_mode():
        latent = model.encode(torch.zeros(2, 1, side, side, side))
        assert latent.shape == (2, settings.get("latent", 48))
        assert model.head(latent).shape == (2, outputs)


def test_the_network_for_volumes_has_the_sides_of_the_listing():
    """Upsampled to 29, then 27, 13 after pooling, 3, 1; of 14 without the pooling also 13."""
    for side, expected in ((28, [29, 27, 13, 3, 1]), (14, [15, 13, 3, 1])):
        x, sides = torch.zeros(1, 1, side, side, side), []
        for layer in ResNet3D((1, side, side, side), 2).encoder[:-1]:
            x = layer(x)
            sides.append(x.shape[-1])
        assert sides == expected


@pytest.mark.parametrize("shape", [(1, 20, 20, 20), (1, 28, 28, 14)])
def test_volumes_of_another_side_are_refused(shape):
    with pytest.raises(ValueError, match="takes sides of 28 or 14"):
        ResNet3D(shape, 2)


#: The listing of C.2 with c = 6 and 2 classes, block before skip.
VOLUME_LISTING = [
    "upsample 29 nearest",
    "conv 1 6 7 1 2", "norm 6", "elu", "conv 6 12 5 1 2", "norm 12", "elu",
    "conv 1 12 7 1 2",
    "pool 5 2 1",
    "conv 12 24 3 2 1", "norm 24", "elu", "pool 5 2 1", "conv 24 36 3 2 2", "norm 36", "elu",
    "pool 5 2 0", "conv 12 36 3 1 0",
    "conv 36 36 3 1 1", "norm 36", "elu", "pool 3 1 0", "conv 36 48 1 1 0",
    "conv 36 48 3 1 0",
    "norm 48", "elu", "linear 48 2",
]  # fmt: skip


def test_the_network_for_volumes_follows_the_listing():
    model = ResNet3D((1, 28, 28, 28), 2)
    layers = [layer for layer in model.modules() if not list(layer.children())]
    lines = [_line(layer) for layer in layers]
    assert [line for line in lines if line != "flatten"] == VOLUME_LISTING


def test_the_networks_for_fields_are_the_published_ones():
    """247 850 and 8 324 992 parameters (C.3, table 6); one frame out, of the input's grid."""
    shape = (20, 64, 64)
    cnn, mlp = FieldCNN(shape, 2).eval(), FieldMLP(shape, 2).eval()
    assert (_parameters(cnn), _parameters(mlp)) == (247850, 8324992)
    x = torch.randn(2, *shape)
    with torch.inference_mode():
        assert cnn.encode(x).shape == (2, 92, 64, 64)
        assert (cnn.encode(x) >= 0).all()  # after its ReLU
        assert mlp.encode(x).shape == (2, 92)
        for model in (cnn, mlp):
            assert model(x).shape == (2, 2, 64, 64)
            torch.testing.assert_close(model(x), model.head(model.encode(x)), rtol=0, atol=0)


def test_persistence_repeats_the_last_frame():
    model = Persistence(Labels(torch.zeros(1), 2))
    x = torch.randn(3, 20, 4, 4)
    assert torch.equal(model(x), x[:, 18:])
    assert _parameters(model) == 0


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


class Labels:
    """What a trivial predictor may know of a dataset."""

    def __init__(self, labels, outputs):
        self.labels, self.outputs = labels, outputs

    def size(self, source):
        return len(self.labels)

    def targets(self, source, rows):
        return self.labels[rows]


def test_the_majority_class_is_the_lowest_among_the_most_frequent():
    model = MajorityClass(Labels(torch.tensor([3, 1, 1, 3, 2]), 5))
    assert model(torch.zeros(4, 1, 2, 2)).argmax(1).tolist() == [1] * 4
    assert model(torch.zeros(4, 1)).shape == (4, 5)
    assert _parameters(model) == 0


def _settable(target):
    return parameters_of(target)().model_dump()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_called_from_python_has_the_registry_s_defaults(name):
    entry = MODELS[name]
    target = load(entry.target)
    but = "group" if entry.by_group else ""
    told, signed = entry.parameters(), parameters_of(target, but)()
    assert told.model_dump(mode="json") == signed.model_dump(mode="json")
    assert entry.draws == hasattr(target, "drawings")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_called_from_python_has_the_registry_s_defaults(name):
    entry = OBJECTIVES[name]
    target = load(entry.target)
    left_out = {name: it.default for name, it in entry.parameters.model_fields.items()}
    assert left_out == _settable(target)
    assert entry.draws == hasattr(target, "drawings")
    for key, field in entry.parameters.model_fields.items():
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        for value in choices:
            target({"lr": 1.0, "lambda": 1.0}, **{key: value})
