"""Losses that a search space can name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from equigrid.parameters import Count, Later, NonNegative, Positive, parameters
from equigrid.registry.entries import AUTOREGRESSION, CLASSIFICATION, RECONSTRUCTION, ObjectiveEntry
from equigrid.symmetry import FiniteGroup, scrambled_elements
from equigrid.symmetry.words import relations_of

#: What stands for ρ_Z in the method's loss; all but the first are controls.
_IMPOSED = (Annotated[Literal["regular", "scrambled", "identity"], Later()], "regular")


def _check_imposed(settings: Mapping[str, Any], group: FiniteGroup) -> None:
    if settings.get("action") == "scrambled":
        scrambled_elements(group)


OBJECTIVES = {
    "unaugmented": ObjectiveEntry(
        "equigrid.objectives.task:Unaugmented",
        parameters(validation=(Literal["plain", "views"], "plain")),
    ),
    "augmented": ObjectiveEntry("equigrid.objectives.task:Augmented"),
    "two_views": ObjectiveEntry("equigrid.objectives.regular:TwoViews", passes=2),
    "regular_representation": ObjectiveEntry(
        "equigrid.objectives.regular:RegularRepresentation",
        parameters(task_weights=(Literal["paper", "released"], "paper"), action=_IMPOSED),
        searched={"lambda": NonNegative},
        needs_latent=True,
        passes=2,
        check=_check_imposed,
    ),
    # Passes: of six autoregressive steps, the first also on the turned input.
    "autoregressive": ObjectiveEntry(
        "equigrid.objectives.autoregressive:Autoregressive", task=AUTOREGRESSION, passes=6
    ),
    "autoregressive_augmented": ObjectiveEntry(
        "equigrid.objectives.autoregressive:AutoregressiveAugmented", task=AUTOREGRESSION, passes=7
    ),
    "autoregressive_regular_representation": ObjectiveEntry(
        "equigrid.objectives.autoregressive:AutoregressiveRegularRepresentation",
        parameters(latents=(Literal["paper", "released"], "paper"), action=_IMPOSED),
        searched={"lambda": NonNegative},
        task=AUTOREGRESSION,
        needs_latent=True,
        passes=7,
        check=_check_imposed,
    ),
}


_STARTS = Literal[
    "uniform", "normal", "scaled_normal", "orthogonal", "noisy_orthogonal", "near_identity"
]
_ACTION: dict[str, tuple[Any, Any]] = {
    "relations": (dict[str, NonNegative], {}),
    "regularisers": (dict[str, NonNegative], {}),
    "start": (_STARTS, "orthogonal"),
    "algebra_weight": (NonNegative, 1.0),
}
_ALGEBRA = (
    "algebra_loss", "relation_loss", "root_distance", "regular_distance", "stuck", "steps",
    "count", "inner",
)  # fmt: skip


def _check_relations(settings: Mapping[str, Any], group: FiniteGroup) -> None:
    for kind in ("relations", "regularisers"):
        relations_of(settings[kind], group)


OBJECTIVES |= {
    "autoencoding": ObjectiveEntry(
        "equigrid.objectives.autoencoding:Autoencoding",
        parameters(warm_up=(Count, 0), rise=(Count, 0)),
        searched={"beta": NonNegative, "alpha": Positive},
        wants={"beta": "variational"},
        task=RECONSTRUCTION,
        draws=True,
        scores=("kl", "rotation_error"),
    ),
    "learned_representation": ObjectiveEntry(
        "equigrid.objectives.learned_representation:LearnedRepresentation",
        parameters(
            **_ACTION,
            output_weight=(NonNegative, 0.25),
            latent_weight=(NonNegative, 0.25),
            task_on=(Literal["first", "both"], "both"),
        ),
        task=(CLASSIFICATION, RECONSTRUCTION),
        passes=2,
        draws=True,
        scores=(*_ALGEBRA, "task_loss", "output_loss", "latent_loss", "equivariance_loss",
                "latent_error", "data"),
        check=_check_relations,
    ),
    "algebra_alone": ObjectiveEntry(
        "equigrid.objectives.learned_representation:AlgebraAlone",
        parameters(**_ACTION),
        task=(CLASSIFICATION, RECONSTRUCTION),
        draws=True,
        scores=_ALGEBRA,
        check=_check_relations,
    ),
}  # fmt: skip
