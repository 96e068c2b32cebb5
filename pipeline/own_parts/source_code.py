"""The code of parts that are named from outside the package: its sources and their fingerprint.

A part (`module:object`) is its module and the modules that it imports, wherever they lie; of a
package that was installed from an index its version. Two sources have the same fingerprint when
they differ in comments, docstrings and layout alone. What code reads (data files) is not seen, nor
what it imports by a computed name: that is named.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from equigrid.errors import InputError, NameTakenError
from equigrid.files import sha256
from equigrid.own_parts.beside import refuse_hidden
from equigrid.own_parts.imports import OURS, STACK, Imports, is_external, parse, prefixes
from equigrid.own_parts.user_errors import users_code

#: Of a source, below the folder where its import begins: what may be written when it comes from
#: elsewhere.
SOURCE = re.compile(r"(?:[^\W\d]\w*/)*[^\W\d][\w.-]*")

#: When they were imported, by module: fingerprints of parts, and of each file by itself.
_imported: dict[str, str] = {}
_loaded: dict[str, str] = {}


@dataclass(frozen=True)
class Code:
    """The code of a module. sources: texts by path below the folder where their import begins.

    files: where they lie here. unseen: what of its imports could not be followed.
    """

    sources: Mapping[str, str]
    files: Mapping[str, Path] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.sources)


def fingerprint(sources: Mapping[str, str]) -> str:
    """SHA-256 of the syntax trees without comments, docstrings and positions, by path.

    Raises InputError where a source is no Python of this version.
    """
    trees = {path: _digest(path, text) for path, text in sources.items()}
    return sha256(json.dumps(trees, sort_keys=True).encode())


def differing_paths(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Of two parts' sources those that only one has, or that are not the same code."""
    return sorted(
        path
        for path in one.keys() | other.keys()
        if path not in one
        or path not in other
        or _digest(path, one[path]) != _digest(path, other[path])
    )


@lru_cache(maxsize=4096)
def _digest(path: str, text: str) -> str:
    if not path.endswith(".py"):
        return sha256(text.encode())
    tree = json.dumps(_plain(parse(path, text)), separators=(",", ":"))
    return sha256(tree.encode())


def _plain(node: Any) -> Any:
    """A tree as lists; what is empty is left out, as Python versions differ in listing it."""
    if isinstance(node, ast.AST):
        body = getattr(node, "body", None)
        fields: list[Any] = [type(node).__name__]
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(body, list) and _has_docstring(node):
                value = value[1:]
            if value not in (None, []) and name not in ("kind", "type_ignores"):
                fields.append([name, _plain(value)])
        return fields
    if isinstance(node, list):
        return [_plain(each) for each in node]
    return [type(node).__name__, repr(node)]


def _has_docstring(node: ast.AST) -> bool:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None


def code_of(target: str) -> Code:
    """The code behind `module:object` or a module; InputError where there is none to read."""
    module, imports = target.partition(":")[0], Imports()
    refuse_hidden(module.partition(".")[0], imports, None)
    if not imports.knows(module.partition(".")[0]):
        raise InputError(
            f"{module!r}: no module of this name with a source beside the search space"
        )
    if (installed := imports.version(module)) is not None:
        return Code({installed.path: installed.text})
    sources: dict[str, str] = {}
    files: dict[str, Path] = {}
    unseen: list[str] = []
    waiting = list(prefixes(module))
    seen = set(waiting)
    importers: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in importers and name == top:
            refuse_hidden(name, imports, importers[name])
        if top in OURS | STACK or imports.is_pythons(top):
            continue
        found = imports.version(top) or imports.source(name)
        if found is None:
            continue
        sources[found.path] = found.text
        unseen += found.unseen
        if found.file is not None:
            files[found.path] = found.file
        wanted = set(found.imports)
        for every in [it for it in wanted if it.endswith(".*")]:
            package = every.removesuffix(".*")
            wanted |= {f"{package}.{it}" for it in imports.exported(package)}
        new = sorted(wanted - seen)
        importers |= dict.fromkeys(new, found.file) if found.file else {}
        waiting += new
        seen |= wanted
    if not files:
        raise InputError(f"{target!r}: no source code of {module!r} to take a fingerprint of")
    return Code(dict(sorted(sources.items())), files, tuple(sorted(set(unseen))))


def import_part(module: str) -> ModuleType:
    """Import a module; anew where it, or one that it imports, changed since it was imported.

    So a process that stays (a notebook, a test) never uses other code than it takes the
    fingerprint of, nor another project's module of the same name.
    """
    if module.partition(".")[0] in OURS:
        return importlib.import_module(module)
    importlib.invalidate_caches()
    try:
        code = code_of(module)
    except NameTakenError:
        raise
    except InputError:
        return importlib.import_module(module)  # which says better what is wrong with it
    if not code.files:  # an installed one does not change under a process
        return importlib.import_module(module)
    files = {_module_at(path): file for path, file in code.files.items()}
    digests = {_module_at(path): _digest(path, code.sources[path]) for path in code.files}
    current = _imported.get(module, code.fingerprint) == code.fingerprint and all(
        Path(getattr(sys.modules[name], "__file__", None) or file) == file
        and _loaded.get(name, digests[name]) == digests[name]
        for name, file in files.items()
        if name in sys.modules
    )
    if not current:
        for name in files:
            sys.modules.pop(name, None)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        # Bytecode is told apart by whole seconds and sizes: after a quick edit it would be stale.
        found = importlib.import_module(module)
    finally:
        sys.dont_write_bytecode = writes
    # A module may put folders on the path, and so find more than before.
    _imported[module] = code_of(module).fingerprint
    _loaded.update(digests)
    return found


def _module_at(path: str) -> str:
    """The name of the module in a file: `a/b.py` is a.b, `a/__init__.py` is a."""
    parts = path.split("/")
    if parts[-1] == "__init__.py":
        return ".".join(parts[:-1])
    return ".".join([*parts[:-1], parts[-1].partition(".")[0]])


def fingerprints(*names: str) -> dict[str, str]:
    """By name, of those among some names that point outside the package."""
    return {name: code_of(name).fingerprint for name in names if is_external(name)}


def check_fingerprints(recorded: Mapping[str, str]) -> None:
    """InputError where a part's code here is not the recorded one."""
    for name, wanted in recorded.items():
        with users_code(name):
            import_part(name.partition(":")[0])
        found = code_of(name).fingerprint
        if found != wanted:
            raise InputError(f"code of {name}: {found[:12]} here, {wanted[:12]} asked for")


def sources_of(recorded: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """The code of parts by fingerprint; InputError where it is not the recorded one."""
    check_fingerprints(recorded)
    found = {code_of(name).fingerprint: code_of(name).sources for name in recorded}
    return {digest: found[digest] for digest in sorted(found)}
