"""SMOKE: simulated buoyant smoke in a box, and windows of its velocity to be continued."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from equigrid.datasets.builder import Builder, random_stream
from equigrid.datasets.raw import RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.parameters import Parameters
from equigrid.symmetry import FiniteGroup, grid_action, vector_action

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Range = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
Numbers = Annotated[list[Count], Field(min_length=1)]
Vector = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=2, max_length=2)
]

#: Centres of the inflow by orientation, counter-clockwise, in the units of the domain [0, 64]².
INFLOWS = ((32.0, 5.0), (59.0, 32.0), (32.0, 59.0), (5.0, 32.0))
#: By orientation, of k = 1. One is a tenth stronger, so the task is only nearly equivariant.
BUOYANCY = ((0.0, 0.01), (-0.01, 0.0), (0.0, -0.011), (0.01, 0.0))
#: Simulations, as published; k = 32 is in neither.
TRAIN = (
    27, 33, 3, 28, 9, 12, 22, 8, 30, 25, 16, 11, 23, 29, 36, 26, 1, 35, 19, 34, 4, 2, 7, 31, 17,
)  # fmt: skip
DOMAIN = (6, 14, 15, 10, 18, 20, 24, 13, 21, 5)
#: A window that starts at s takes frames s+2 … s+11 in and continues them from s+12 on.
SKIPPED, INPUT_FRAMES = 2, 10
#: Frames that continue a window: in training and validation, and in tests.
TRAINED, TESTED = 6, 20
HORIZONS = {"train": TRAINED, "val": TRAINED, "future": TESTED, "domain": TESTED}
COMPONENTS = 2


class Starts(BaseModel):
    """Where windows start: [first, beyond the last). domain: of the test's simulations."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    train: Range = Field(default_factory=lambda: [0, 160])
    val: Range = Field(default_factory=lambda: [160, 200])
    future: Range = Field(default_factory=lambda: [200, 250])
    domain: Range = Field(default_factory=lambda: [0, 100])


class SmokeParameters(Parameters):
    """grid: cells a side. steps: of dt = 1; the frame after the first is dropped.

    simulations: k = 1, 2, …; their orientation is (k − 1) mod 4. buoyancy: by orientation, per unit
    of smoke and of k. train, domain: the k of each split. stride: from one window to the next.
    placement: of the velocity, `paper` at cell centres, `released` on lower faces.
    action: `released`, as the authors' code has it, turns vectors the wrong way round, in views and
    in steerable models alike.
    seed: fixes the element of each validation window.
    """

    grid: Annotated[int, Field(ge=8, le=4096, multiple_of=2)] = 64
    steps: Count = 310
    simulations: Count = 36
    buoyancy: Annotated[list[Vector], Field(min_length=4, max_length=4)] = Field(
        default_factory=lambda: [list(vector) for vector in BUOYANCY]
    )
    train: Numbers = Field(default_factory=lambda: list(TRAIN))
    domain: Numbers = Field(default_factory=lambda: list(DOMAIN))
    starts: Starts = Starts()
    stride: Count = 1
    placement: Literal["paper", "released"] = "paper"
    action: Literal["paper", "released"] = "paper"
    seed: Annotated[int, Field(ge=0)] = 0


class Smoke(Builder):
    """The data of table 6, simulated (C.3).

    Arrays: `velocity` float32 [simulations, steps − 1, 2, grid, grid] with rows = +y, components
    (x, y); `SPLIT/windows` int64 [n, 2], simulation and start; `action` int64 [|G|, grid²] and
    `vectors` float32 [|G|, 2, 2]; the elements of validation.
    """

    version = 1
    task = "autoregression"
    metrics = ("rmse_20", "rmse_6")
    validation_metrics = ("rmse_6",)
    dataset_class = "equigrid.datasets.smoke.resident:ResidentSmoke"
    test_splits = ("future", "domain")
    Parameters = SmokeParameters
    parameters: SmokeParameters

    def __init__(self, parameters: SmokeParameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        vectors = vector_action(group)
        grid_action(group, self.input_shape[1:])
        if parameters.action == "released":
            if not group.is_abelian:
                message = f"action released with {group.name}: turned round, it is no action"
                raise ValueError(message)
            self.group = replace(group, vectors=vectors[group.inverse])
        both = [*parameters.train, *parameters.domain]
        if len(set(both)) != len(both) or max(both) > parameters.simulations:
            raise ValueError(
                f"train and domain: expected different numbers of 1 … {parameters.simulations}"
            )
        for split, horizon in HORIZONS.items():
            first, beyond = self._starts(split)
            last = beyond - 1 + SKIPPED + INPUT_FRAMES + horizon
            if first >= beyond or last > parameters.steps - 1:
                raise ValueError(
                    f"starts.{split}: [{first}, {beyond}] does not fit into {parameters.steps} "
                    f"steps: windows end with frame {last} of {parameters.steps - 1}"
                )

    def _starts(self, split: str) -> tuple[int, int]:
        first, beyond = getattr(self.parameters.starts, split)
        return first, beyond

    @property
    def train_size(self) -> int:
        return len(self._numbers("train")) * len(self._range("train"))

    @property
    def least_bytes(self) -> int:
        """The velocity of every frame."""
        frames = self.parameters.simulations * (self.parameters.steps - SKIPPED)
        return frames * COMPONENTS * self.parameters.grid**2 * 4

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (INPUT_FRAMES * COMPONENTS, self.parameters.grid, self.parameters.grid)

    def _windows(self, split: str) -> list[tuple[int, int]]:
        """(simulation, start) by simulation, in the order given."""
        return [(k - 1, start) for k in self._numbers(split) for start in self._range(split)]

    def _numbers(self, split: str) -> list[int]:
        return self.parameters.domain if split == "domain" else self.parameters.train

    def _range(self, split: str) -> range:
        return range(*self._starts(split), self.parameters.stride)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        """Simulate all flows in one batch; a build that was ended starts again."""
        from equigrid.datasets.smoke.simulation import Flow, simulate

        flows = []
        for k in range(1, self.parameters.simulations + 1):
            inflow, (x, y) = INFLOWS[(k - 1) % 4], self.parameters.buoyancy[(k - 1) % 4]
            flows.append(Flow(inflow, (k * x, k * y)))
        arrays: dict[str, Any] = {
            "velocity": simulate(
                flows,
                grid=self.parameters.grid,
                steps=self.parameters.steps,
                placement="centres" if self.parameters.placement == "paper" else "lower_faces",
                progress=progress,
            )
        }
        for split in HORIZONS:
            arrays[f"{split}/windows"] = np.array(self._windows(split), np.int64)
        return arrays

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        """Gather indices, matrices for the vectors, and the pairs of validation: x and g·x."""
        size = len(base["val/windows"])
        nothing = np.zeros(size, np.int64)
        stream = random_stream(self.parameters.seed, "views", "val")
        return {
            "action": grid_action(self.group, self.input_shape[1:]),
            "vectors": vector_action(self.group).astype(np.float32),
            "val/elements": nothing,
            "val/draws": nothing,
            "val/pair_elements": stream.integers(self.group.order, size=size, dtype=np.int64),
            "val/pair_draws": nothing,
        }
