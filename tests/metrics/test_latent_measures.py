"""The measures of latents, on latents whose answer is known, and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equigrid.metrics.latent_measures import LatentMeasures
from equigrid.objectives.regular import LatentAction
from equigrid.symmetry import group_by_name

GROUP = group_by_name("C4")
COPIES, DIMENSION, PAIRS = 2, 10, 20_000
#: Of the regular representation one direction a copy is fixed, and each of the padding.
FIXED = COPIES + DIMENSION - COPIES * GROUP.order


def _measured(z1, z2, elements, action=None, parts=3):
    measures = LatentMeasures(action or LatentAction(GROUP, z1.shape[1:], "cpu"), GROUP.order)
    for rows in np.array_split(np.arange(len(z1)), parts):
        measures.add(elements[rows], z1[rows], z2[rows])
    return measures.compute()


@pytest.fixture
def random():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn((PAIRS, DIMENSION), dtype=torch.float64, generator=generator)
    other = torch.randn((PAIRS, DIMENSION), dtype=torch.float64, generator=generator)
    return z, other, torch.randint(GROUP.order, (PAIRS,), generator=generator)


def test_equivariant_latents_follow_rho(random):
    """And those moved by more than chance say how far the group moves them."""
    z, _, g = random
    found = _measured(z, LatentAction(GROUP, [DIMENSION], "cpu")(g, z), g)
    assert found["equivariance_error"] < 1e-25
    assert found["centred_error"] < 1e-3  # but for the mean of a sample, of 1/√PAIRS
    unmoved = 2 * (1 - 1 / GROUP.order) * COPIES * GROUP.order / DIMENSION
    assert found["invariance_error"] == pytest.approx(unmoved, rel=0.03)
    assert found["fixed_share"] == pytest.approx(FIXED / DIMENSION, rel=0.03)


def test_unmoved_latents_depart_from_rho_by_a_known_error(random):
    """What does not move at all has 2(1 − 1/|G|)·m|G|/d, unless it lies in the fixed subspace."""
    z, _, g = random
    found = _measured(z, z, g)
    expected = 2 * (1 - 1 / GROUP.order) * COPIES * GROUP.order / DIMENSION
    assert found["equivariance_error"] == pytest.approx(expected, rel=0.03)
    assert found["centred_error"] == pytest.approx(expected, rel=0.03)
    assert found["invariance_error"] == 0
    action = LatentAction(GROUP, [DIMENSION], "cpu")
    fixed = sum(action(torch.full((PAIRS,), h), z) for h in range(GROUP.order)) / GROUP.order
    found = _measured(fixed, fixed, g)
    assert found["fixed_share"] == pytest.approx(1, abs=1e-12)
    assert found["equivariance_error"] < 1e-25


def test_shifted_means_are_no_part_of_the_centred_error(random):
    """A mean that ρ moves makes the error large; taken off, nothing of it is left."""
    z, _, g = random
    shift = torch.linspace(-3, 5, DIMENSION, dtype=torch.float64)
    found = _measured(z + shift, LatentAction(GROUP, [DIMENSION], "cpu")(g, z) + shift, g)
    assert found["equivariance_error"] > 1
    assert found["centred_error"] < 1e-3


@pytest.mark.parametrize("shape", [(DIMENSION,), (3, 4, 4)])
@pytest.mark.parametrize("parts", [1, 7])
def test_latents_that_follow_nothing_equal_the_dense_computation(shape, parts):
    """All five, with matrices in place of gathers; vectors and maps, in one batch and in seven."""
    generator = torch.Generator().manual_seed(1)
    size = (60, *shape)
    z1 = 1 + torch.randn(size, dtype=torch.float64, generator=generator)
    z2 = 2 + torch.randn(size, dtype=torch.float64, generator=generator)
    g = torch.randint(GROUP.order, (60,), generator=generator)
    action = LatentAction(GROUP, shape, "cpu")
    found = _measured(z1, z2, g, parts=parts)

    numbers = int(np.prod(shape))
    one = torch.eye(numbers, dtype=torch.float64).reshape(numbers, *shape)
    columns = [action(torch.full((numbers,), h), one).reshape(numbers, -1) for h in range(4)]
    matrices = np.stack([it.numpy().T for it in columns])
    a, b, chosen = z1.reshape(60, -1).numpy(), z2.reshape(60, -1).numpy(), matrices[g.numpy()]
    spread = ((b - b.mean(0)) ** 2).sum()
    mean = (a.mean(0) + b.mean(0)) / 2

    def moved(z):
        return (chosen @ z[:, :, None])[:, :, 0]

    fixed = b @ matrices.mean(0).T
    expected = {
        "equivariance_loss": ((moved(a) - b) ** 2).mean(),
        "equivariance_error": ((moved(a) - b) ** 2).sum() / spread,
        "centred_error": ((moved(a - mean) - (b - mean)) ** 2).sum() / spread,
        "invariance_error": ((a - b) ** 2).sum() / spread,
        "fixed_share": ((fixed - fixed.mean(0)) ** 2).sum() / spread,
    }
    assert found == pytest.approx(expected, rel=1e-9)


def test_latents_that_are_all_the_same_have_no_finite_error():
    z = torch.ones((8, DIMENSION))
    found = _measured(z, z, torch.zeros(8, dtype=torch.int64))
    assert not np.isfinite(found["equivariance_error"])
