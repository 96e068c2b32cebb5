"""A data recipe: the plain mapping that determines a dataset's arrays, and its way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from equigrid.datasets.builder import Builder
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError
from equigrid.lookup import dataset_builder, load
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.source_code import check_fingerprints, code_of, fingerprints
from equigrid.own_parts.user_errors import users_code
from equigrid.symmetry import FiniteGroup, group_by_name


def group_named(name: str) -> FiniteGroup:
    """The group behind a name or `module:object`; InputError where there is none."""
    try:
        if not is_external(name):
            return group_by_name(name)
    except ValueError as error:
        raise InputError(str(error)) from error
    found = load(name)
    with users_code(name):
        group = found() if callable(found) else found
    if not isinstance(group, FiniteGroup):
        raise InputError(f"{name!r} is not a FiniteGroup")
    return group


def recipe_of(
    builder_name: str, group_name: str, builder: Builder, raw: RawStore
) -> dict[str, Any]:
    """Builder, version, group, parameters with all defaults, SHA-256 of the raw files.

    Of parts from outside the package also the fingerprints of their code: the builder, the group,
    the task, and metrics that none of them has among its sources.
    """
    code = fingerprints(builder_name, group_name, builder.task)
    known = {path for name in code for path in code_of(name).sources}
    measured = filter(is_external, (*builder.metrics, *builder.validation_metrics))
    code |= fingerprints(*(name for name in measured if not code_of(name).sources.keys() <= known))
    return {
        "builder": builder_name,
        "version": builder.version,
        "group": group_name,
        "parameters": builder.parameters.model_dump(mode="json"),
        "raw": builder.raw_fingerprints(raw),
        **({"code": code} if code else {}),
    }


def builder_of(recipe: Mapping[str, Any]) -> Builder:
    """The builder a recipe names; InputError where this version makes something else of it."""
    builder_class = dataset_builder(recipe["builder"])
    if builder_class.version != recipe["version"]:
        raise InputError(
            f"data of {recipe['builder']} version {recipe['version']}; "
            f"this is version {builder_class.version}"
        )
    check_fingerprints(recipe.get("code", {}))
    parameters = builder_class.Parameters.model_validate(recipe["parameters"], strict=True)
    builder: Builder = builder_class(parameters, group_named(recipe["group"]))
    return builder


def data_identity(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of base arrays says it is."""
    return {"kind": "data", "recipe": dict(recipe)}


def cache_identity(recipe: Mapping[str, Any], data_sha256: str) -> dict[str, Any]:
    """What a file of the augmentation cache says it is; data_sha256: of the base arrays."""
    return {"kind": "cache", "recipe": dict(recipe), "data_sha256": data_sha256}
