"""A search space's file: where it is found, its lines, and how a mistake in it is told."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from equigrid.config.yaml_lines import Located, parse
from equigrid.errors import InputError
from equigrid.files import too_long
from equigrid.trial import FILE_NAME, FILE_NAMES, shown


def packaged_file(name: str) -> Path:
    """Where a packaged search space of this name would be."""
    return Path(str(resources.files("equigrid.search_spaces"))) / f"{name}.yaml"


def find(name: str) -> Path:
    """A path (it has a separator or a suffix), else ./search_spaces/, else a packaged one."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if fault := too_long(path):
            raise InputError(fault)
        if not path.exists():
            raise InputError(f"{name}: no such file")
        if not path.is_file():
            raise InputError(f"{name}: a pipe or a folder; a search space is a file, by its name")
        return path
    if not FILE_NAME.fullmatch(name):
        raise InputError(f"{shown(name)} is not a search space's name: {FILE_NAMES}")
    local = Path("search_spaces") / f"{name}.yaml"
    packaged = packaged_file(name)
    for path in (local, packaged):
        if path.is_file():
            return path
    known = sorted({path.stem for path in (*Path("search_spaces").glob("*.yaml"),
                                           *packaged.parent.glob("*.yaml"))})  # fmt: skip
    raise InputError(f"no search space {name!r}; there are: {', '.join(known)}, or give a path")


def read(name: str) -> tuple[Path, Located]:
    """The file of a search space and what is in it; InputError where it is no YAML mapping."""
    path = find(name)
    if not FILE_NAME.fullmatch(path.stem):
        raise InputError(f"{path}: {shown(path.stem)} is not a search space's name: {FILE_NAMES}")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return path, parse(text, str(path))


def located_error(
    path: Path,
    located: Located,
    place: tuple[str | int, ...],
    message: str,
    profile: str | None = None,
) -> InputError:
    """`file:line: key: message`; place: the keys that lead to the mistake."""
    # pydantic puts the names of union members into the place; the file has only real keys.
    known = tuple(part for n, part in enumerate(place) if exists(located.value, place[:n], part))
    key = ".".join(map(_key, known or place)) or "search space"
    if place and place != known and place[-1] not in known and _missing(message):
        key = ".".join(map(_key, (*known, place[-1])))
    within = f"profile {profile}: " if profile else ""
    return InputError(f"{path}:{located.line(known)}: {within}{key}: {message}")


def _key(part: str | int) -> str:
    """A key on one line: what is not printable is written as an escape."""
    return str(part) if str(part).isprintable() else repr(part)


def _missing(message: str) -> bool:
    return message.endswith("Field required")


def exists(value: Any, parents: tuple[str | int, ...], part: str | int) -> bool:
    for parent in (*parents, part):
        try:
            value = value[parent]
        except (KeyError, IndexError, TypeError):
            if parent == part:
                return False
    return True


def mistake(error: ValidationError | PydanticCustomError) -> tuple[tuple[str | int, ...], str]:
    """Where the first mistake lies, as keys from the top of the file, and what is wrong."""
    if isinstance(error, PydanticCustomError):
        context = error.context or {}
        return tuple(context["path"]), context["message"]
    details = error.errors()[0]
    place = tuple(p for p in details["loc"] if not str(p).startswith(("function-", "list[")))
    if details["type"] == "refused":
        context = details["ctx"]
        return (*place, *context["path"]), context["message"]
    value = "" if details["type"] == "missing" else f"{details['input']!r}:"
    return place, f"{value} {details['msg']}".strip()
