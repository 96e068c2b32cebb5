"""Smoke in a closed box, simulated with PhiFlow: the raw data of SMOKE (experiments, section 4)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from equigrid.datasets.store import Progress
from equigrid.errors import InputError

if TYPE_CHECKING:
    from phi.field import Field
    from phi.math import Tensor

Placement = Literal["centres", "lower_faces"]

SIDE = 64.0  # of the domain, whatever the grid
RADIUS = 5.0  # of the disc the smoke flows in from
TOLERANCE = 1e-5  # of the pressure, relative and absolute
SLACK = 3.0  # over the divergence expected; 1.5 at most in table 6's 36 flows of 310 steps


class SimulationError(InputError):
    """A step left values that are not finite, or more divergence than its projection may."""


@dataclass(frozen=True)
class Flow:
    """inflow: centre of the disc in [0, 64]². buoyancy: acceleration per unit of smoke. (x, y)."""

    inflow: tuple[float, float]
    buoyancy: tuple[float, float]


@dataclass(frozen=True)
class Faces:
    """Velocities on the faces of all cells, walls included, float32.

    x: [flows, grid, grid + 1]. y: [flows, grid + 1, grid]. Rows are y upward, columns are x.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]

    @classmethod
    def of(cls, velocity: Field) -> Faces:
        """PhiFlow leaves out the faces on closed walls, where the velocity is 0."""
        x, y = (velocity.values[{"~vector": name}].numpy("flow,y,x") for name in "xy")
        return cls(np.pad(x, ((0, 0), (0, 0), (1, 1))), np.pad(y, ((0, 0), (1, 1), (0, 0))))

    def divergence(self) -> NDArray[np.float64]:
        """L2 norm over the cells, [flows], in 1/time."""
        x, y = self.x.astype(np.float64), self.y.astype(np.float64)
        return _norm((np.diff(x, axis=2) + np.diff(y, axis=1)) * x.shape[1] / SIDE)

    def placed(self, placement: Placement) -> NDArray[np.float32]:
        """[flows, 2, grid, grid]: one velocity a cell."""
        x, y = self.x[:, :, :-1], self.y[:, :-1]
        if placement == "centres":
            half = np.float32(0.5)
            x, y = half * (x + self.x[:, :, 1:]), half * (y + self.y[:, 1:])
        return np.stack([x, y], axis=1)


def simulate(
    flows: Sequence[Flow], *, grid: int, steps: int, placement: Placement, progress: Progress
) -> NDArray[np.float32]:
    """Simulate all flows in one batch: [flows, steps − 1, 2, grid, grid].

    Velocity (x, y) by flow, frame, component, row (= +y) and column (= +x); time in steps, lengths
    in units of the domain. The frame after the first step is dropped. `centres`: the mean of a
    cell's opposite faces; `lower_faces`: x on its left face, y on its lower face.
    Raises SimulationError where a step fails its check.
    """
    from phi.math import precision
    from phi.torch import TORCH

    frames = np.empty((len(flows), steps - 1, 2, grid, grid), np.float32)
    with TORCH, precision(32), warnings.catch_warnings():
        # Said once a process of every sparse matrix, such as the Laplacian of the pressure.
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        smoke, velocity, inflow, buoyancy = _at_rest(flows, grid)
        for step in range(1, steps + 1):
            smoke, pushed = _advance(smoke, velocity, inflow, buoyancy)
            velocity, pressure = _project(pushed)
            before, after = Faces.of(pushed), Faces.of(velocity)
            _check(step, flows, _cells(smoke), _cells(pressure), before, after)
            if step > 1:
                frames[:, step - 2] = after.placed(placement)
            progress(step, steps)
    return frames


def _at_rest(flows: Sequence[Flow], grid: int) -> tuple[Field, Field, Field, Tensor]:
    """Smoke and velocity, both 0; the inflow, a hard 0/1 disc a flow; the buoyancy."""
    from phi.field import CenteredGrid, StaggeredGrid
    from phi.geom import Box, Sphere
    from phi.math import batch, channel, tensor, zeros
    from phi.math.extrapolation import ZERO_GRADIENT

    def vectors(values: list[tuple[float, float]]) -> Tensor:
        return tensor(np.array(values, np.float32), batch("flow"), channel(vector="x,y"))

    where = {"x": grid, "y": grid, "bounds": Box(x=SIDE, y=SIDE)}
    nothing = zeros(batch(flow=len(flows)))
    disc = Sphere(vectors([flow.inflow for flow in flows]), radius=RADIUS)
    return (
        CenteredGrid(nothing, ZERO_GRADIENT, **where),
        StaggeredGrid(nothing, 0, **where),
        CenteredGrid(disc, ZERO_GRADIENT, **where),
        vectors([flow.buoyancy for flow in flows]),
    )


def _advance(smoke: Field, velocity: Field, inflow: Field, buoyancy: Tensor) -> tuple[Field, Field]:
    """Advect over a time of 1, let smoke in (once, not times the time) and push it."""
    from phi.physics import advect

    smoke = advect.mac_cormack(smoke, velocity, 1) + inflow
    push = (smoke * buoyancy).at(velocity)
    return smoke, advect.semi_lagrangian(velocity, velocity, 1) + push


def _project(velocity: Field) -> tuple[Field, Field]:
    """Subtract the gradient of the pressure that takes the divergence away; both."""
    from phi.math import Diverged, NotConverged, Solve
    from phi.physics import fluid

    solve = Solve(
        "scipy-CG",
        TOLERANCE,
        TOLERANCE,
        # By default phiml borders the Laplacian with ones, to fix the pressure's mean: an
        # indefinite matrix, on which conjugate gradients need twice the iterations and get stuck
        # within 20 steps. They solve the singular system as it is, the divergence's mean being 0.
        rank_deficiency=0,
        suppress=(Diverged, NotConverged),  # _check finds out, and says where
    )
    velocity, pressure = fluid.make_incompressible(velocity, (), solve)
    return velocity, pressure


def _check(
    step: int,
    flows: Sequence[Flow],
    smoke: NDArray[np.float32],
    pressure: NDArray[np.float32],
    before: Faces,
    after: Faces,
) -> None:
    """Raise SimulationError for the first flow that is not finite or too divergent.

    Expected is the solver's tolerance, max(relative · norm before, absolute), and what float32
    rounds off the Laplacian of the pressure p: ε · 8/h² · ‖p‖, 8/h² bounding the Laplacian's norm.
    The solver sees none of the latter: it updates its residual, and never computes it afresh.
    """
    left = after.divergence()
    laplacian = 8 * (smoke.shape[-1] / SIDE) ** 2
    rounding = np.finfo(np.float32).eps * laplacian * _norm(pressure)
    allowed = SLACK * (TOLERANCE * np.maximum(before.divergence(), 1) + rounding)
    finite = np.isfinite(smoke).all(axis=(1, 2)) & np.isfinite(left)
    wrong = ~finite | (left > allowed)
    if wrong.any():
        index = int(wrong.argmax())
        problem = f"divergence {left[index]:.3g}, above {allowed[index]:.3g}"
        if not finite[index]:
            problem += ": not all values are finite"
        raise SimulationError(f"step {step}, flow {index} ({flows[index]}): {problem}")


def _cells(field: Field) -> NDArray[np.float32]:
    """A field of one value a cell, [flows, grid, grid]."""
    cells: NDArray[np.float32] = field.values.numpy("flow,y,x")
    return cells


def _norm(cells: NDArray[Any]) -> NDArray[np.float64]:
    """L2 over all cells, the norm of phiml's tolerances: [flows, grid, grid] → [flows]."""
    norm: NDArray[np.float64] = np.sqrt(np.square(cells, dtype=np.float64).sum(axis=(1, 2)))
    return norm
