"""Parameters of parts (datasets, models, objectives), and what a run key has of them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, create_model
from pydantic import model_serializer as serializer
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError


class Later:
    """Marks a parameter that came after records were made: `Annotated[int, Later()]`.

    At its default it is left out of recipes and run keys, so that those of before stay theirs.

    >>> from typing import Annotated
    >>> from equigrid import Later, Parameters
    >>> class Blur(Parameters):
    ...     radius: int = 1
    ...     strength: Annotated[float, Later()] = 1.0
    >>> Blur().model_dump(), Blur(strength=0.5).model_dump()
    ({'radius': 1}, {'radius': 1, 'strength': 0.5})
    """


def without_later(model: BaseModel, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings but for later ones at their default."""
    fields = type(model).model_fields
    left_out = {
        name
        for name, field in fields.items()
        if any(isinstance(mark, Later) for mark in field.metadata)
        and getattr(model, name) == field.get_default(call_default_factory=True)
    }
    return {name: value for name, value in settings.items() if name not in left_out}


class Parameters(BaseModel):
    """Base of a part's parameters: unknown keys and numbers that are not finite are refused.

    A pydantic model; in a search space a mistake in one is told with file and line.

    >>> from equigrid import Parameters
    >>> class Blur(Parameters):
    ...     radius: int = 1
    >>> Blur(radius=3).radius
    3
    >>> Blur(radios=3)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @serializer(mode="wrap")
    def _without_later(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_later(self, handler(self))


Size = Annotated[int, Field(ge=1, le=2**31)]
Count = Annotated[int, Field(ge=0, le=2**31)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: Types of defaults that a search space can write.
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


def parameters(**fields: tuple[Any, Any]) -> type[Parameters]:
    """Parameters by name, each with its type and default."""
    made: type[Parameters] = create_model("Parameters", __base__=Parameters, **fields)  # type: ignore[call-overload]
    return made


def parameters_of(target: Any, but: str = "") -> type[BaseModel]:
    """Of a class or function: its own `Parameters`, or what its keyword-only arguments say.

    but: an argument that is none.

    An argument without an annotation has the type of its default; one whose default is no plain
    value cannot be set.
    """
    own = getattr(target, "Parameters", None)
    if inspect.isclass(own) and issubclass(own, BaseModel):
        return own
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target,
                           include_extras=True)  # fmt: skip
    fields: dict[str, tuple[Any, Any]] = {}
    for name, argument in inspect.signature(target).parameters.items():
        is_set = argument.default is not inspect.Parameter.empty
        if argument.kind is not inspect.Parameter.KEYWORD_ONLY or name == but:
            continue
        if is_set and not isinstance(argument.default, PLAIN):
            continue
        default = argument.default if is_set else ...
        guess = type(default) if is_set and default is not None else Any
        fields[name] = (_understood(hints.get(name, guess), guess), default)
    return parameters(**fields)


def _understood(annotation: Any, guess: Any) -> Any:
    """An annotation, unless it is of a type that has no plain values."""
    try:
        create_model("Probe", value=(annotation, ...))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return guess
    return annotation


def filled(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """A part's settings with all defaults, as plain values; raises pydantic's ValidationError.

    As if read from JSON: a list is given for a tuple. TypeError for what JSON does not have.
    """
    found = model.model_validate_json(json.dumps(dict(given)), strict=True)
    return found.model_dump(mode="json")
