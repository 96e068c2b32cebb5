"""The holographic autoencoder: its parameters, and that rotations commute with its layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from pipeline.models.holographic import HolographicAutoencoder
from pipeline.registry import MODELS
from pipeline.spherical.couplings import coupling, vanishes
from pipeline.spherical.layers import Block, Normalise, Product, frame_of, joined, split
from pipeline.spherical.rotations import random_rotations, rotate

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


def differ(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


def together(signal: list[Tensor]) -> Tensor:
    """Of a product, too, whose degrees have unequally many channels."""
    most = max(map(len, signal))
    return joined([torch.nn.functional.pad(it, (0, 0, 0, 0, 0, most - len(it))) for it in signal])


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 226_411), ({"latent": 120, "channels": (16, 16, 16, 32, 64, 120)}, 452_347)],
)
def test_it_has_the_published_number_of_parameters(settings, count) -> None:
    model = HolographicAutoencoder((1, 121), 1, **settings)
    assert sum(it.numel() for it in model.parameters()) == count


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layer",
    [lambda: Normalise(3, 4), lambda: Product(4, 5), lambda: Block(4, 5, 3, 4),
     lambda: Block(4, 2, 3, 2)],
)  # fmt: skip
def test_rotations_commute_with_every_layer(layer, training, precision) -> None:
    torch.manual_seed(0)
    module = layer().train(training)
    x = some(4, 3)
    moved = together(module(split(rotate(x, TURNS))))
    assert differ(moved, rotate(together(module(split(x))), TURNS)) < EXACT[precision]


def test_rotations_commute_from_end_to_end(precision) -> None:
    torch.manual_seed(0)
    model = HolographicAutoencoder((1, 49), 1, latent=5, degrees=(4, 2, 1), channels=(4, 4, 4))
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
