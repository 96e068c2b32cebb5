"""The CNN of table 6 made steerable: E2CNN, RPP, RSteer, PSCNN, Lift and RGroup."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from equigrid.models.likelihoods import LearnsLikelihoods
from equigrid.parameters import Later
from equigrid.steerable import (
    ComponentNorm,
    FieldNorm,
    FieldType,
    Likelihood,
    PartialConvolution,
    RegularReLU,
    RelaxedGroupConvolution,
    RelaxedSteerableConvolution,
    ResidualPathway,
    SteerableConvolution,
    constant,
    squares,
    steering_group,
)
from equigrid.symmetry import FiniteGroup, grid_action

VECTOR = "vector"
HIDDEN_LAYERS = 4


class SteerableFieldCNN(nn.Module):
    """E2CNN: five 3×3 convolutions; vectors in, hidden regular fields, a vector out.

    group: of the dataset, C_n or D_n. The latent are the fields behind the fourth block: [order of
    the group · width, rows, columns]. 622 656 parameters at the defaults with 10 frames of vectors
    and C4. normalisation: `field`, one variance a field without gradient, or `components`, as in
    the authors' code, batch normalisation over a field's components; of as many parameters.
    """

    hidden: ClassVar[str] = "regular"

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, group: FiniteGroup, width: int = 92,
        normalisation: Annotated[Literal["field", "components"], Later()] = "field",
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalisation = normalisation
        steering = steering_group(group)
        if outputs != 2:
            raise ValueError(f"fields of {outputs} channels: vectors of the plane have 2")
        self.group, self.width = group, width
        frames = input_shape[0] // outputs
        first = FieldType(steering, (VECTOR,), frames)
        last = FieldType(steering, (VECTOR,), outputs // 2)
        names = ["regular"] if self.hidden == "regular" else steering.irreducibles
        self.fields = FieldType(steering, tuple(names), width)
        layers: list[nn.Module] = []
        for number in range(HIDDEN_LAYERS):
            into = self.into(number) if number else first
            layers += [self.convolution(into, self.fields), *self.between()]
        self.encoder = nn.Sequential(*layers)
        self.head = self.convolution(self.fields, last)
        elements = cast(np.ndarray, steering.elements)
        actions = np.array([self.fields.action(g) for g in elements])
        self.register_buffer("actions", constant(actions), persistent=False)
        self.actions: Tensor

    def into(self, number: int) -> FieldType:
        """What hidden convolution 1, 2 or 3 takes."""
        return self.fields

    def between(self) -> list[nn.Module]:
        norm = ComponentNorm if self.normalisation == "components" else FieldNorm
        return [norm(self.fields), nn.ReLU()]

    def convolution(self, into: FieldType, out: FieldType) -> nn.Module:
        return SteerableConvolution(into, out, 3, padding=1)

    def latent_action(self, elements: Tensor, latents: Tensor) -> Tensor:
        """[b] elements g, [b, channels, rows, columns]: the grid turns, the channels mix."""
        turned = turned_grid(self.group, elements, latents)
        return (self.actions[elements] @ turned.flatten(2)).reshape(latents.shape)

    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames · 2, rows, columns] → [batch, channels, rows, columns]."""
        return cast(Tensor, self.encoder(by_component(x)))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames · 2, rows, columns] → [batch, 2, rows, columns]."""
        return cast(Tensor, self.head(self.encode(x)))


def by_component(x: Tensor) -> Tensor:
    """[batch, frames · 2, …] → [batch, 2 · frames, …]: as the channels of a FieldType lie."""
    return x.reshape(len(x), -1, 2, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def turned_grid(group: FiniteGroup, elements: Tensor, maps: Tensor) -> Tensor:
    """[b] elements g, [b, channels, rows, columns]: each map's pixels moved by g."""
    indices = torch.from_numpy(grid_action(group, tuple(maps.shape[2:]))).to(maps.device)
    points = maps.flatten(2)
    at = indices[elements][:, None].expand_as(points)
    return points.gather(2, at).reshape(maps.shape)


class ResidualPathwayFieldCNN(SteerableFieldCNN):
    """RPP: beside each steerable convolution a free one, kept small; BatchNorm over all channels.

    So the network is not strictly steerable even without its free part. 4 355 650 parameters.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 92, free_penalty: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__(input_shape, outputs, group=group, width=width)
        self.free_penalty = free_penalty

    def between(self) -> list[nn.Module]:
        return [nn.BatchNorm2d(self.fields.channels), nn.ReLU()]

    def convolution(self, into: FieldType, out: FieldType) -> nn.Module:
        return ResidualPathway(into, out, 3, padding=1)

    def penalties(self) -> dict[str, tuple[float, Tensor]]:
        free = [squares(it.free) for it in self.modules() if isinstance(it, ResidualPathway)]
        return {"free_squares": (self.free_penalty, torch.stack(free).sum())}


class RelaxedSteerableFieldCNN(SteerableFieldCNN):
    """RSteer: weights that may differ over a filter's pixels; no norm. 5 595 442 parameters.

    The published 5 596 178 count four norms of 184 that are never applied.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 92, roughness_penalty: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__(input_shape, outputs, group=group, width=width)
        self.roughness_penalty = roughness_penalty

    def between(self) -> list[nn.Module]:
        return [nn.ReLU()]

    def convolution(self, into: FieldType, out: FieldType) -> nn.Module:
        return RelaxedSteerableConvolution(into, out, 3, padding=1)

    def penalties(self) -> dict[str, tuple[float, Tensor]]:
        found = [
            it.roughness() for it in self.modules() if isinstance(it, RelaxedSteerableConvolution)
        ]
        return {"roughness": (self.roughness_penalty, torch.stack(found).sum())}


class PartiallySteerableFieldCNN(SteerableFieldCNN, LearnsLikelihoods):
    """PSCNN: all five convolutions learn how equivariant they are. 3 121 028 parameters.

    Hidden fields are the regular ones taken apart into irreducibles, and ReLU acts on them whole.
    Without repeated columns 2 487 332.
    """

    hidden: ClassVar[str] = "irreducibles"

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *,
        group: FiniteGroup, width: int = 92, repeated_columns: bool = True,
        alignment_penalty: float = 5.0, change_penalty: float = 3.0, uniform_penalty: float = 3.0,
    ) -> None:  # fmt: skip
        self.repeated_columns = repeated_columns
        super().__init__(input_shape, outputs, group=group, width=width)
        convolutions = [it for it in self.modules() if isinstance(it, PartialConvolution)]
        self.likelihoods = nn.ModuleList(it.likelihood for it in convolutions)
        self.weights = (alignment_penalty, change_penalty, uniform_penalty)
        self.remember()

    def between(self) -> list[nn.Module]:
        return [FieldNorm(self.fields), RegularReLU(self.fields)]

    def convolution(self, into: FieldType, out: FieldType) -> nn.Module:
        return PartialConvolution(
            into, out, 3, Likelihood(into.group), padding=1,
            repeated_columns=self.repeated_columns,
        )  # fmt: skip


class LiftFieldCNN(SteerableFieldCNN):
    """Lift: an MLP reads all frames, and its output joins every pixel's fields after block 2.

    8 227 652 parameters on 64×64; the published 3.32 million are those of frames of 62×23.
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, group: FiniteGroup, width: int = 92,
        normalisation: Annotated[Literal["field", "components"], Later()] = "field",
    ) -> None:  # fmt: skip
        super().__init__(
            input_shape, outputs, group=group, width=width, normalisation=normalisation
        )
        size = int(np.prod(input_shape))
        blocks: list[nn.Module] = [nn.Flatten()]
        for into in (size, width):
            blocks += [nn.Linear(into, width), nn.BatchNorm1d(width), nn.ReLU()]
        self.lift = nn.Sequential(*blocks, nn.Linear(width, self.lifted * group.order))

    @property
    def lifted(self) -> int:
        """Regular fields that the MLP gives."""
        return max(1, self.width // 4)

    def into(self, number: int) -> FieldType:
        more = self.lifted if number == 2 else 0
        return FieldType(self.fields.group, ("regular",), self.width + more)

    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames · 2, rows, columns] → [batch, channels, rows, columns]."""
        half = len(self.encoder) // 2
        order, grid = self.group.order, x.shape[2:]
        read = self.lift(x).reshape(len(x), order, self.lifted, 1, 1).expand(-1, -1, -1, *grid)
        fields = self.encoder[:half](by_component(x)).reshape(len(x), order, self.width, *grid)
        return cast(Tensor, self.encoder[half:](torch.cat([fields, read], 2).flatten(1, 2)))


class RelaxedGroupFieldCNN(nn.Module):
    """RGroup: group convolutions over quarter turns whose filters may differ from turn to turn.

    As released: vectors are lifted as two scalars, and only the lifting layer has an activation;
    the output is the mean over the turns. 1 874 632 parameters without biases (as here), 1 876 112
    with them. The latent are the maps before the last convolution. start: of the weights, `fan_in`
    or `released` (RelaxedGroupConvolution).
    """

    def __init__(
        self, input_shape: tuple[int, ...], outputs: int, *, group: FiniteGroup, width: int = 92,
        start: Annotated[Literal["fan_in", "released"], Later()] = "fan_in",
    ) -> None:  # fmt: skip
        super().__init__()
        if group.name != "C4":
            raise ValueError(f"{group.name}: filters turn by 90 degrees, allowed: C4")
        self.group, self.width = group, width
        self.lift = RelaxedGroupConvolution(input_shape[0], width, 3, lifts=True)
        self.hidden = nn.Sequential(
            *(RelaxedGroupConvolution(width, width, 3, lifts=False, start=start) for _ in range(3))
        )
        self.head = _MeanOverTurns(width, outputs, start)

    def latent_action(self, elements: Tensor, latents: Tensor) -> Tensor:
        """[b] elements g, [b, width · 4, rows, columns]: the grid turns, and so do the turns."""
        turns = torch.from_numpy(self.group.table[self.group.inverse]).to(latents.device)
        points = latents.reshape(len(latents), self.width, 4, -1)
        at = turns[elements][:, None, :, None].expand_as(points)
        return turned_grid(self.group, elements, points.gather(2, at).reshape(latents.shape))

    def encode(self, x: Tensor) -> Tensor:
        """[batch, frames · 2, rows, columns] → [batch, width · 4, rows, columns]."""
        return cast(Tensor, self.hidden(self.lift(x).relu())).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, frames · 2, rows, columns] → [batch, 2, rows, columns]."""
        return cast(Tensor, self.head(self.encode(x)))


class _MeanOverTurns(nn.Module):
    def __init__(self, width: int, outputs: int, start: str) -> None:
        super().__init__()
        self.convolution = RelaxedGroupConvolution(width, outputs, 3, lifts=False, start=start)

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.convolution(z.reshape(len(z), -1, 4, *z.shape[2:])).mean(2))
