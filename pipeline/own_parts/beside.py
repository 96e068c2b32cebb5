"""The folder of a search space, where its own parts lie, and the names that they cannot have."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from equigrid.errors import NameTakenError
from equigrid.own_parts.imports import OURS, STACK, Imports, file_beside, line_of

#: What some packages leave among the installed modules, and nobody imports.
LEFT = frozenset({"docs", "examples", "scripts", "test", "tests", "tools"})

#: The folders of search spaces at the end of the path, the current one first.
_folders: list[str] = []


def importable(folder: Path) -> None:
    """Put a folder on the path, after everything that is installed: nothing in it hides that."""
    place, older = str(folder), list[str]()
    while sys.path and sys.path[-1] in _folders:
        older.insert(0, sys.path.pop())
    _folders[:] = [place, *(it for it in older if it != place)]
    sys.path += _folders


def refuse_hidden(name: str, imports: Imports, importer: Path | None) -> None:
    """Raise NameTakenError where a file beside the search space has a module's name, and by this
    name another module is imported.

    importer: the file that imports it; None where the search space names it.
    """
    current = [it for it in _folders[:1] if it in sys.path]
    file = next(filter(None, (file_beside(name, Path(it)) for it in current)), None)
    if file is None:
        return
    # An editable install is found after the path; this process has imported it already.
    taken = Path(__file__).parents[1] / "__init__.py" if name in OURS else imports.file(name)
    if taken is not None and taken.is_file() and file.read_bytes() == taken.read_bytes():
        return  # it, or a copy
    where = f"{importer}:{line_of(importer, name)}: " if importer else ""
    raise NameTakenError(
        f"{where}{name!r} is {_whose(name)}, so {file} is never imported: rename that file"
    )


def hiding() -> str:
    """What PYTHONPATH has in place of the installed packages that we need; empty for nothing.

    Where all packages come by it, so it is meant; where those of another Python do, nothing works.
    """
    told = []
    for folder in map(Path, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))):
        names = sorted({it.partition(".")[0] for it in _listed(folder)})
        found = [
            it for it in names if (file := file_beside(it, folder)) and _hides(it, file, folder)
        ]
        if found:
            told.append(f"{folder} ({', '.join(found)})")
    return f"PYTHONPATH has {', '.join(told)} in place of what is installed" if told else ""


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (PermissionError, FileNotFoundError):  # to an import too it is empty
        return []


def _hides(name: str, file: Path, folder: Path) -> bool:
    """Whether a file has the name of a module that we need, and of ours is not that module."""
    if name in OURS:
        return not os.path.samefile(file, Path(__file__).parents[1] / "__init__.py")
    if name in sys.stdlib_module_names:
        return True
    others = [it for it in sys.path if Path(it).resolve() != folder.resolve()]
    needed = name not in LEFT and (name in STACK or name in _needed())
    return needed and PathFinder.find_spec(name, others) is not None


def _whose(name: str) -> str:
    if name in sys.stdlib_module_names:
        return "Python's own module"
    if name in OURS:
        return "equigrid itself"
    return "a package that equigrid needs" if name in STACK | _needed() else "another module"


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
