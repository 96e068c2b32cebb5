"""Networks that a search space can name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from equigrid.parameters import Later, NonNegative, Parameters, Size, parameters
from equigrid.registry.entries import AUTOREGRESSION, CLASSIFICATION, RECONSTRUCTION, ModelEntry


class HolographicParameters(Parameters):
    """latent: numbers of z. degrees, channels: of what each block of the encoder gives.

    affine: whether normalisations learn all that they do in the authors' code: a weight of degree 0
    too and, where a signal is divided by its norm, a weight for each degree and a bias.
    variational: whether z has a variance, without which β is 0.

    Degrees fall to 1, that of a frame, and none is more than twice the next: of degrees up to l
    come products up to 2l, by which the decoder climbs back.
    """

    latent: Size = 16
    degrees: tuple[Annotated[int, Field(ge=1, le=11)], ...] = (10, 10, 8, 4, 2, 1)
    channels: tuple[Size, ...] = (16, 16, 16, 16, 16, 16)
    affine: Annotated[bool, Later()] = False
    variational: Annotated[bool, Later()] = True

    @model_validator(mode="after")
    def _falls(self) -> HolographicParameters:
        if len(self.degrees) != len(self.channels):
            raise ValueError(f"{len(self.degrees)} degrees, {len(self.channels)} channels")
        for each, after in zip(self.degrees, (*self.degrees[1:], 1), strict=True):
            if not after <= each <= 2 * after:
                raise ValueError(
                    f"degrees {list(self.degrees)}: {each} before {after}; allowed: "
                    f"{after} to {2 * after}"
                )
        if self.degrees[-1] != 1:
            raise ValueError(f"degrees {list(self.degrees)}: the last is 1, that of a frame")
        return self


MODELS: dict[str, ModelEntry] = {
    "ddmnist_cnn": ModelEntry(
        "equigrid.models.ddmnist_cnn:DDMNISTCNN",
        parameters(width=(Size, 6), latent=(Size, 66)),
        axes=2,
        cpu_seconds=lambda settings, shape: 2.5e-3,
    ),
    "small_cnn": ModelEntry(
        "equigrid.models.small_cnn:SmallCNN",
        parameters(width=(Size, 16), latent=(Size, 64)),
        axes=2,
        cpu_seconds=lambda settings, shape: 2e-4,
    ),
    "resnet3d": ModelEntry(
        "equigrid.models.resnet3d:ResNet3D",
        parameters(width=(Size, 6), latent=(Size, 48)),
        axes=3,
        cpu_seconds=lambda settings, shape: 2.8e-6 * shape[1] ** 3,
    ),
    "field_cnn": ModelEntry(
        "equigrid.models.field_cnn:FieldCNN",
        parameters(width=(Size, 92)),
        task=AUTOREGRESSION,
        axes=2,
        latent_maps=True,
        cpu_seconds=lambda settings, shape: 4e-9 * shape[1] * shape[2] * settings["width"] ** 2,
    ),
    "field_mlp": ModelEntry(
        "equigrid.models.field_mlp:FieldMLP",
        parameters(latent=(Size, 92)),
        task=AUTOREGRESSION,
        axes=2,
        cpu_seconds=lambda settings, shape: 1.2e-8 * shape[1] * shape[2] * settings["latent"],
    ),
    "conv_autoencoder": ModelEntry(
        "equigrid.models.conv_autoencoder:ConvAutoencoder",
        parameters(latent=(Annotated[int, Field(ge=2)], 42)),
        task=RECONSTRUCTION,
        axes=2,
    ),
    "mlp_autoencoder": ModelEntry(
        "equigrid.models.mlp_autoencoder:MLPAutoencoder",
        parameters(latent=(Size, 30), bounded=(Annotated[bool, Later()], True)),
        task=RECONSTRUCTION,
    ),
    "holographic_autoencoder": ModelEntry(
        "equigrid.models.holographic:HolographicAutoencoder",
        HolographicParameters,
        task=RECONSTRUCTION,
        axes=1,
        cpu_seconds=lambda settings, shape: 1.1e-5 * shape[1] ** 1.25,
    ),
    "power_spectrum": ModelEntry(
        "equigrid.models.power_spectrum:PowerSpectrum",
        parameters(components=(Size | None, None)),
        trivial=True,
        task=RECONSTRUCTION,
        axes=1,
    ),
    "gelu_cnn": ModelEntry(
        "equigrid.models.gelu_cnn:GELUCNN",
        parameters(width=(Size, 32), latent=(Size, 64), bias=(bool, True)),
        axes=2,
    ),
    "no_network": ModelEntry(
        "equigrid.models.no_network:NoNetwork",
        parameters(latent=(Size, 64)),
        task=(CLASSIFICATION, RECONSTRUCTION),
    ),
    "majority": ModelEntry("equigrid.models.trivial:MajorityClass", trivial=True),
    "persistence": ModelEntry(
        "equigrid.models.trivial:Persistence", trivial=True, task=AUTOREGRESSION
    ),
}

#: Of steerable networks: called with the dataset's group, which acts on the image.
_STEERABLE = {"width": (Size, 6), "latent": (Size, 48)}
_RESIDUAL: dict[str, Any] = {
    "steerable_penalty": (NonNegative, 1e-5),
    "free_penalty": (NonNegative, 1e-3),
}


def _partial(change: float, uniform: float) -> dict[str, Any]:
    return {
        "repeated_columns": (bool, True),
        "alignment_penalty": (NonNegative, 5.0),
        "change_penalty": (NonNegative, change),
        "uniform_penalty": (NonNegative, uniform),
    }


_CNN = "equigrid.models.steerable_cnn"
_RESNET = "equigrid.models.steerable_resnet3d"
_SPACE: dict[str, tuple[Any, Any]] = {**_STEERABLE, "group": (Literal["SO(3)", "O(3)"], "SO(3)")}
_FIELD = "equigrid.models.steerable_field_cnn"
_FLOW: dict[str, tuple[Any, Any]] = {"width": (Size, 92)}
_NORMALISED: dict[str, Any] = {
    "normalisation": (Annotated[Literal["field", "components"], Later()], "field")
}


def _steerable_cnn(target: str, draws: bool = False, **more: Any) -> ModelEntry:
    """Its seconds are those of C4; D1 takes a fifth, D4 two and a half times as many."""
    return ModelEntry(
        f"{_CNN}:{target}", parameters(**_STEERABLE, **more), axes=2, by_group=True, draws=draws,
        invariant=True,
        cpu_seconds=lambda settings, shape: 5e-4 * settings["width"] ** 2,
    )  # fmt: skip


def _steerable_resnet(target: str, draws: bool = False, **more: Any) -> ModelEntry:
    return ModelEntry(
        f"{_RESNET}:{target}", parameters(**_SPACE, **more), axes=3, draws=draws, invariant=True,
        cpu_seconds=lambda settings, shape: 4.3e-6 * shape[1] ** 3 * settings["width"] ** 2,
    )  # fmt: skip


def _steerable_field(target: str, draws: bool = False, **more: Any) -> ModelEntry:
    return ModelEntry(
        f"{_FIELD}:{target}", parameters(**_FLOW, **more), task=AUTOREGRESSION, axes=2,
        latent_maps=True, by_group=True, draws=draws,
        cpu_seconds=lambda settings, shape: 7e-8 * shape[1] * shape[2] * settings["width"] ** 2,
    )  # fmt: skip


MODELS |= {
    "steerable_cnn": _steerable_cnn(
        "SteerableCNN", restrict_after=(Annotated[int, Field(ge=0, le=4)], 0)
    ),
    "residual_pathway_cnn": _steerable_cnn("ResidualPathwayCNN", **_RESIDUAL),
    "partially_steerable_cnn": _steerable_cnn(
        "PartiallySteerableCNN", draws=True, **_partial(3.0, 3.0)
    ),
    "steerable_resnet3d": _steerable_resnet("SteerableResNet3D"),
    "residual_pathway_resnet3d": _steerable_resnet(
        "ResidualPathwayResNet3D",
        **_RESIDUAL,
        blocks=(Annotated[Literal["antialiased", "released"], Later()], "antialiased"),
    ),
    "partially_steerable_resnet3d": _steerable_resnet(
        "PartiallySteerableResNet3D", draws=True, **_partial(1.0, 1.0)
    ),
    "steerable_field_cnn": _steerable_field("SteerableFieldCNN", **_NORMALISED),
    "residual_pathway_field_cnn": _steerable_field(
        "ResidualPathwayFieldCNN", free_penalty=(NonNegative, 1e-6)
    ),
    "relaxed_steerable_field_cnn": _steerable_field(
        "RelaxedSteerableFieldCNN", roughness_penalty=(NonNegative, 1e-5)
    ),
    "partially_steerable_field_cnn": _steerable_field(
        "PartiallySteerableFieldCNN", draws=True, **_partial(3.0, 3.0)
    ),
    "lift_field_cnn": _steerable_field("LiftFieldCNN", **_NORMALISED),
    "relaxed_group_field_cnn": _steerable_field(
        "RelaxedGroupFieldCNN",
        start=(Annotated[Literal["fan_in", "released"], Later()], "fan_in"),
    ),
}
