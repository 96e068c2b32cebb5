"""The simulation of smoke: against its own symmetry, linear algebra, and its own checks."""

from __future__ import annotations

import numpy as np
import pytest
from phi.physics import fluid

from equigrid.datasets.smoke.simulation import Flow, SimulationError, simulate

GRID = 32
FLOW = Flow((28, 6), (0.03, 0.09))
# FLOW, 90° counter-clockwise about (32, 32): (x, y) → (64 − y, x), vectors (x, y) → (−y, x).
TURNED = Flow((58, 28), (-0.09, 0.03))
OTHER = Flow((15, 40), (0.05, -0.02))


@pytest.fixture(scope="module")
def lower():
    """59 frames of three flows, each cell's velocity on its left and its lower face."""
    done = []
    frames = simulate(
        [FLOW, TURNED, OTHER],
        grid=GRID,
        steps=60,
        placement="lower_faces",
        progress=lambda step, steps: done.append((step, steps)),
    )
    assert done == [(step, 60) for step in range(1, 61)]
    assert frames.shape == (3, 59, 2, GRID, GRID)
    assert frames.dtype == np.float32
    return frames


def _faces(lower):
    """All faces across x and across y: closed walls beyond the last column and the last row."""
    x, y = lower[..., 0, :, :], lower[..., 1, :, :]
    right, top = np.zeros_like(x[..., :1]), np.zeros_like(y[..., :1, :])
    return np.concatenate([x, right], axis=-1), np.concatenate([y, top], axis=-2)


def _centres(lower):
    x, y = _faces(lower)
    x, y = (x[..., 1:] + x[..., :-1]) / 2, (y[..., 1:, :] + y[..., :-1, :]) / 2
    return np.stack([x, y], axis=-3)


def _rmse(a, b):
    return np.sqrt(np.mean((a - b) ** 2))


def test_a_turned_flow_turns_every_frame(lower):
    """rot90 over (row = +y, column = +x) turns clockwise: (x, y) → (y, −x); no other sign fits."""
    upright, turned = _centres(lower[0]), _centres(lower[1])
    back = np.rot90(turned, axes=(-2, -1))
    back = np.stack([back[:, 1], -back[:, 0]], axis=1)
    assert _rmse(back, upright) < 1e-3
    assert _rmse(-back, upright) > 0.5
    assert _rmse(turned, upright) > 0.5


def test_closed_walls_and_no_divergence(lower):
    """In the norm of the solver's tolerance, 1e-5 of what advection and buoyancy put in."""
    x, y = _faces(lower)
    assert not x[..., 0].any()
    assert not y[..., 0, :].any()
    divergence = (np.diff(x, axis=-1) + np.diff(y, axis=-2)) * GRID / 64
    norm = np.linalg.norm(divergence, axis=(-2, -1))
    speed = np.abs(lower).max(axis=(-3, -2, -1))
    assert speed[:, -1].min() > 1  # else there is nothing to be free of
    assert norm.max() < 1e-3
    assert (norm / speed).max() < 1e-4


def test_a_batch_is_its_flows_one_by_one(lower, quiet):
    alone = simulate([OTHER], grid=GRID, steps=8, placement="lower_faces", progress=quiet)
    np.testing.assert_allclose(alone[0], lower[2, :7], rtol=0, atol=1e-5)


def test_centres_are_means_of_opposite_faces(lower, quiet):
    """And a shorter run is the beginning of a longer one."""
    flows = [FLOW, TURNED, OTHER]
    centres = simulate(flows, grid=GRID, steps=4, placement="centres", progress=quiet)
    np.testing.assert_allclose(centres, _centres(lower[:, :3]), rtol=0, atol=1e-6)


def test_weak_flows_are_linear_algebra(quiet):
    """Without advection step n adds n discs of smoke: u = n(n + 1)/2 · projected buoyancy.

    So the first frame, the state after step 2, is 3 times the first push, the next 6 and 10 times.
    """
    grid, size = 16, 4.0
    flow = Flow((26, 12), (0.004, -0.01))
    found = simulate([flow], grid=grid, steps=4, placement="lower_faces", progress=quiet)[0]

    centre = (np.arange(grid) + 0.5) * size
    disc = np.hypot(centre - flow.inflow[0], centre[:, None] - flow.inflow[1]) <= 5
    assert disc.sum() == 6
    push_x = np.pad(disc[:, 1:] + 1.0 * disc[:, :-1], ((0, 0), (1, 1))) / 2 * flow.buoyancy[0]
    push_y = np.pad(disc[1:] + 1.0 * disc[:-1], ((1, 1), (0, 0))) / 2 * flow.buoyancy[1]
    # The projection is the least-squares distance to the gradients of all pressures.
    unit = np.eye(grid**2).reshape(-1, grid, grid)
    gradient_x = np.pad(np.diff(unit, axis=2), ((0, 0), (0, 0), (1, 1))).reshape(grid**2, -1)
    gradient_y = np.pad(np.diff(unit, axis=1), ((0, 0), (1, 1), (0, 0))).reshape(grid**2, -1)
    gradients = np.concatenate([gradient_x, gradient_y], axis=1).T
    push = np.concatenate([push_x.ravel(), push_y.ravel()])
    free = push - gradients @ np.linalg.lstsq(gradients, push, rcond=None)[0]
    free_x, free_y = np.split(free, 2)
    once = np.stack([free_x.reshape(grid, grid + 1)[:, :-1], free_y.reshape(grid + 1, grid)[:-1]])
    assert np.abs(once).max() > 1e-3
    for frame, times in zip(found, (3, 6, 10), strict=True):
        np.testing.assert_allclose(frame, times * once, rtol=0, atol=0.02 * np.abs(frame).max())


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 1e30])
def test_values_that_are_not_finite_are_named(strength, quiet):
    flows = [FLOW, Flow((20, 20), (0.0, strength))]
    with pytest.raises(SimulationError, match=r"step 1, flow 1 .*20, 20.* not all .* finite"):
        simulate(flows, grid=16, steps=2, placement="centres", progress=quiet)


def test_a_projection_that_leaves_a_thousandth_is_noticed(monkeypatch, quiet):
    exact, step = fluid.make_incompressible, 0

    def sloppy(velocity, *rest):
        nonlocal step
        step += 1
        free, pressure = exact(velocity, *rest)
        return (free + 1e-3 * (velocity - free) if step == 3 else free), pressure

    monkeypatch.setattr(fluid, "make_incompressible", sloppy)
    with pytest.raises(SimulationError, match=r"step 3, flow 0 .* divergence .* above [^:]*$"):
        simulate([FLOW], grid=16, steps=5, placement="centres", progress=quiet)
