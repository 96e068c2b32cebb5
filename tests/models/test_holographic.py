"""The holographic autoencoder: its parameters, and that rotations commute with its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from equigrid.config.experiment import load_experiment
from equigrid.models.holographic import HolographicAutoencoder
from equigrid.registry import MODELS
from equigrid.spherical.couplings import coupling, vanishes
from equigrid.spherical.layers import Block, Normalise, Product, frame_of, joined, split
from equigrid.spherical.rotations import random_rotations, rotate

TURNS = random_rotations(6, np.random.default_rng(0))
#: Relative, by precision.
EXACT = {torch.float64: 1e-10, torch.float32: 1e-4}


@pytest.fixture(params=EXACT)
def precision(request):
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def some(degree: int, channels: int) -> Tensor:
    stream = torch.Generator().manual_seed(5)
    return torch.randn(6, channels, (degree + 1) ** 2, generator=stream)


def trained(module):
    """With weights and biases that are no longer ones and zeros."""
    with torch.no_grad():
        for it in module.parameters():
            it += 0.3 * torch.randn_like(it)
    return module


def differ(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


def together(signal: list[Tensor]) -> Tensor:
    """Of a product, too, whose degrees have unequally many channels."""
    most = max(map(len, signal))
    return joined([torch.nn.functional.pad(it, (0, 0, 0, 0, 0, most - len(it))) for it in signal])


def count(settings, inputs: int = 121) -> int:
    model = HolographicAutoencoder((1, inputs), 1, **settings)
    return sum(it.numel() for it in model.parameters())


def settings_of(row: str, profile: str | None = None):
    settings = dict(load_experiment("holographic", profile).rows[row].model)
    assert settings.pop("name") == "holographic_autoencoder"
    return settings


@pytest.mark.parametrize(
    ("row", "published"),
    [
        ("H-AE z16", 226_419),
        ("H-VAE z16", 226_691),
        ("H-AE z120", 438_339),
        ("H-VAE z120", 452_859),
    ],
)
def test_the_rows_of_table_h_have_as_many_parameters_as_the_authors_networks(row, published):
    assert count(settings_of(row)) == published


@pytest.mark.parametrize(
    ("profile", "inputs", "missing"), [("small", 49, 112), ("short", 121, 280)]
)
def test_a_profile_lacks_as_many_as_its_note_says(profile, inputs, missing) -> None:
    before = settings_of("H-AE z16", profile)
    full = count({**before, "affine": True}, inputs)
    assert full - count(before, inputs) == missing
    assert full - count({**before, "affine": True, "variational": False}, inputs) == 272
    (note,) = [it for it in load_experiment("holographic", profile).space.notes if "272" in it]
    assert f"({missing} numbers)" in note


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layer",
    [lambda: Normalise(3, 4), lambda: Normalise(3, 4, affine=True), lambda: Product(4, 5),
     lambda: Block(4, 5, 3, 4), lambda: Block(4, 2, 3, 2), lambda: Block(4, 5, 3, 4, affine=True)],
)  # fmt: skip
def test_rotations_commute_with_every_layer(layer, training, precision) -> None:
    torch.manual_seed(0)
    module = trained(layer()).train(training)
    x = some(4, 3)
    moved = together(module(split(rotate(x, TURNS))))
    assert differ(moved, rotate(together(module(split(x))), TURNS)) < EXACT[precision]


@pytest.mark.parametrize("affine", [False, True])
def test_rotations_commute_from_end_to_end(precision, affine) -> None:
    torch.manual_seed(0)
    settings = {"latent": 5, "degrees": (4, 2, 1), "channels": (4, 4, 4), "affine": affine}
    model = trained(HolographicAutoencoder((1, 49), 1, **settings))
    for _ in range(3):
        model(some(6, 1))  # running statistics of something
    model.eval()
    x, y = some(6, 1), rotate(some(6, 1), TURNS)
    (mean, variance, frame), after = model.distribution(x), model.distribution(y)
    tolerance = EXACT[precision]
    assert differ(after[0], mean) < tolerance
    assert differ(after[1], variance) < tolerance
    turned = torch.einsum("nij,nkj->nki", torch.from_numpy(TURNS).to(x), frame.view(-1, 3, 3))
    assert differ(after[2].view(-1, 3, 3), turned) < tolerance
    assert differ(model(y), rotate(model(x), TURNS)) < tolerance
    assert differ(model.embed(x), mean) == 0
    # The same z in a frame that stays: what no rotation of the input changes.
    one = model.encode(x[:1])
    still = model.head(model.in_frame_of(one, mean))
    assert differ(model.head(model.in_frame_of(one, after[0])), still) < tolerance
    assert differ(still[:1], model(x[:1])) < tolerance


def test_a_frame_is_orthonormal_and_right_handed() -> None:
    axes = frame_of(torch.randn(2, 3, 7, dtype=torch.float64))
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3).double().expand(7, 3, 3))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(7).double())


def test_a_product_is_what_its_definition_says(precision) -> None:
    module, x = Product(3, 4), split(some(3, 2))
    for degree, found in enumerate(module(x)):
        parts = [
            torch.einsum(
                "cib,cjb,ijk->ckb", x[a], x[b], torch.from_numpy(coupling(a, b, degree)).to(x[a])
            )
            for a, b in module.paths[degree]
            if not vanishes((a, b), degree)
        ]  # fmt: skip
        assert differ(found, torch.cat(parts)) < EXACT[precision]


def test_normalised_channels_have_mean_square_one() -> None:
    found = Normalise(3, 4).train()(split(7 * some(4, 3) + 2))
    for each in found:
        torch.testing.assert_close(each.square().mean((1, 2)), torch.ones(3), rtol=1e-3, atol=1e-3)
    assert found[0].mean((1, 2)).abs().max() < 1e-5


def test_each_channel_of_each_degree_may_have_a_weight() -> None:
    torch.manual_seed(0)
    layer, plain = trained(Normalise(3, 4, affine=True)).train(), Normalise(3, 4).train()
    assert layer.weight.shape == (5, 3)
    found, alone = layer(split(some(4, 3))), plain(split(some(4, 3)))
    for degree, weight in enumerate(layer.weight[:, :, None, None]):
        more = layer.bias[:, None, None] if degree == 0 else 0
        assert differ(found[degree], weight * alone[degree] + more) < 1e-6


def test_after_the_norm_stand_a_weight_for_each_degree_and_a_bias(precision) -> None:
    """As defined: products by their norm, by the degree's weight, plus the bias, then mixed."""
    torch.manual_seed(0)
    block, signal = trained(Block(2, 3, 2, 2, affine=True)), split(some(2, 2))
    products = block.product(block.normalise(signal))
    norm = sum((it**2).mean(1).sum(0) for it in products).add(1e-8).sqrt()
    normed = [it / norm * factor for it, factor in zip(products, block.factors, strict=True)]
    normed[0] = normed[0] + block.bias
    for degree, found in enumerate(block.train()(signal)):
        mixing = block.weights[degree][:, block.product.used[degree]].flatten(1)
        wanted = torch.einsum("oc,cmb->omb", mixing, normed[degree])
        if degree < len(signal):
            wanted = wanted + signal[degree]
        assert differ(found, wanted) < EXACT[precision]


def test_without_a_variance_there_is_none() -> None:
    torch.manual_seed(0)
    settings = {"latent": 5, "degrees": (4, 2, 1), "channels": (4, 4, 4)}
    model = HolographicAutoencoder((1, 49), 1, **settings, variational=False).eval()
    mean, variance, _ = model.distribution(some(6, 1))
    assert variance is None
    assert torch.equal(model.embed(some(6, 1)), mean)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"degrees": [6, 4, 1], "channels": [4, 4, 4]}, "4 before 1; allowed: 1 to 2"),
        ({"degrees": [2, 4, 1], "channels": [4, 4, 4]}, "2 before 4"),
        ({"degrees": [4, 2], "channels": [4, 4]}, "the last is 1"),
        ({"degrees": [2, 1], "channels": [4]}, "2 degrees, 1 channels"),
    ],
)
def test_degrees_that_no_decoder_climbs_back_are_refused(settings, reason) -> None:
    with pytest.raises(ValidationError, match=reason):
        MODELS["holographic_autoencoder"].parameters.model_validate(settings)


def test_inputs_of_another_degree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs of degree 10.*allowed: 5 to 10"):
        HolographicAutoencoder((1, 121), 1, degrees=(4, 2, 1), channels=(4, 4, 4))
