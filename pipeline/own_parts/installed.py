"""Parts that installed packages offer by plain names, as entry points."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points

from equigrid.errors import InputError


@lru_cache
def installed_parts(kind: str) -> dict[str, tuple[str, ...]]:
    """The parts of a kind: by plain name what it stands for, several where packages disagree.

    kind: `models`, `objectives`, `datasets` or `metrics`. Their entry points, of the group
    `equigrid.models` and so on, have `module:object` as values.
    """
    found: dict[str, set[str]] = {}
    for point in entry_points(group=f"equigrid.{kind}"):
        found.setdefault(point.name, set()).add(point.value)
    return {name: tuple(sorted(values)) for name, values in sorted(found.items())}


def part_named(kind: str, name: str) -> str:
    """`module:object` of a part that an installed package offers; any other name as it is.

    Raises InputError where two packages offer different parts by one name.
    """
    values = installed_parts(kind).get(name, (name,))
    if len(values) > 1:
        raise InputError(f"{name!r} is offered by several installed packages: {', '.join(values)}")
    return values[0]
