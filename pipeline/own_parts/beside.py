"""The folder of a search space, where its own parts are looked for first."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.errors import InputError
from pipeline.own_parts.imports import OURS, STACK, file_beside

#: What some packages leave among the installed modules, and nobody imports.
LEFT = frozenset({"docs", "examples", "scripts", "test", "tests", "tools"})


def importable(folder: Path) -> None:
    """Put a folder first on the path, as it is for workers.

    InputError names a file in it that would be imported for a module of Python's own, of ours or
    of a package that we need: processes of a run would not start, or do something else.
    """
    for name in sorted({it.partition(".")[0] for it in _listed(folder)}):
        file = file_beside(name, folder)
        if file is not None and (whose := _hidden(name, file, folder)):
            raise InputError(
                f"{file} would be imported in place of {whose} {name!r}: rename it, or keep the "
                "search space in a folder without it"
            )
    place = str(folder)
    sys.path[:] = [place, *(it for it in sys.path if it != place)]


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (PermissionError, FileNotFoundError):  # to an import too it is empty
        return []


def _hidden(name: str, file: Path, folder: Path) -> str:
    """Whose module of this name a file hides; empty where it hides none that matters."""
    if name in sys.stdlib_module_names:
        return "Python's own module"
    if name in OURS:
        ours = Path(__file__).parents[2] / name / "__init__.py"
        return "" if os.path.samefile(file, ours) else "equigrid's package"
    if name in LEFT or not _is_elsewhere(name, folder):
        return ""
    return "the package" if name in STACK or name in _needed() else ""


def _is_elsewhere(name: str, folder: Path) -> bool:
    others = [it for it in sys.path if Path(it).resolve() != folder.resolve()]
    return PathFinder.find_spec(name, others) is not None


@lru_cache
def _needed() -> frozenset[str]:
    """The modules of every package that equigrid requires, or that one of those requires."""
    found: set[str] = set()
    waiting = [Requirement("equigrid")]
    while waiting:
        wanted = waiting.pop()
        try:
            lines = requires(wanted.name) or []
        except PackageNotFoundError:
            continue
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        found.add(name)
        for each in map(Requirement, lines):
            extras = ("", *wanted.extras)
            if each.marker is None or any(each.marker.evaluate({"extra": it}) for it in extras):
                waiting.append(each)
    return frozenset(
        top
        for top, distributions in packages_distributions().items()
        if found & set(map(canonicalize_name, distributions))
    )
