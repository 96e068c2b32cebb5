"""The code of parts that are named from outside the package: its sources and their fingerprint.

A part (`module:object`) is its module and the modules beside it that it imports; of an installed
package its version. Two sources have the same fingerprint when they differ in comments, docstrings
and layout alone. What code reads (data files), or imports by a computed name, is not seen.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import packages_distributions
from importlib.metadata import version as distribution_version
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import InputError
from pipeline.files import sha256

#: Our own packages: their versions stand for their code.
OURS = frozenset({"pipeline", "stages", "search_spaces"})

#: Of a source, below the folder its part lies in: what may be written when it comes from elsewhere.
SOURCE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*/)*[A-Za-z_][A-Za-z0-9_.-]*")

#: When they were imported, by module: fingerprints of parts, and of each file by itself.
_imported: dict[str, str] = {}
_loaded: dict[str, str] = {}


@dataclass(frozen=True)
class Code:
    """The code of a module. sources: texts by path below `folder`, where its import begins."""

    folder: Path
    sources: Mapping[str, str]

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.sources)


def is_external(name: str) -> bool:
    """Whether a name points outside the package (`module:object`)."""
    return ":" in name


def fingerprint(sources: Mapping[str, str]) -> str:
    """SHA-256 of the syntax trees without comments, docstrings and positions, by path.

    Raises InputError where a source is no Python of this version.
    """
    trees = {path: _digest(path, text) for path, text in sources.items()}
    return sha256(json.dumps(trees, sort_keys=True).encode())


@lru_cache(maxsize=4096)
def _digest(path: str, text: str) -> str:
    if not path.endswith(".py"):
        return sha256(text.encode())
    tree = json.dumps(_plain(_parse(path, text)), separators=(",", ":"))
    return sha256(tree.encode())


def _parse(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{path}:{line}: not Python: {getattr(error, 'msg', error)}") from error


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
    module = target.partition(":")[0]
    folder, installed = _where(module)
    if installed:
        return Code(folder, _version(module.partition(".")[0]))
    sources: dict[str, str] = {}
    waiting = list(_prefixes(module))
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        file = _file(folder, name)
        if file is None:
            continue
        path = file.relative_to(folder).as_posix()
        status = file.stat()
        sources[path], imports = _read(file, name, status.st_mtime_ns, status.st_size)
        new = set(imports) - seen
        seen |= new
        waiting += sorted(new)
    if not sources:
        raise InputError(f"{target!r}: no source code of {module!r} to take a fingerprint of")
    return Code(folder, dict(sorted(sources.items())))


def _where(module: str) -> tuple[Path, bool]:
    """Where a module's import begins; and whether that is a place of installed packages."""
    top = module.partition(".")[0]
    specs = (
        finder.find_spec(top, None) for finder in sys.meta_path if hasattr(finder, "find_spec")
    )
    spec = next(filter(None, specs), None)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if spec is None or (spec.origin in (None, "built-in", "frozen") and not places):
        raise InputError(
            f"{module!r}: no module of this name with a source beside the search space"
        )
    folder = Path(places[0]).parent if places else Path(str(spec.origin)).parent
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = any(folder.resolve().is_relative_to(Path(path).resolve()) for path in paths)
    return folder, installed or "site-packages" in folder.parts


def _version(package: str) -> dict[str, str]:
    """What stands for the sources of an installed package: its version."""
    names = packages_distributions().get(package)
    version = f"{names[0]} {distribution_version(names[0])}" if names else sys.version.split()[0]
    return {package: f"installed, version {version}"}


def _file(folder: Path, module: str) -> Path | None:
    """The file of a module below a folder, None where it lies elsewhere or is our own package."""
    if module.partition(".")[0] in OURS:
        return None
    place = folder.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return next(iter(sorted(place.parent.glob(f"{place.name}.*.so"))), None)


@lru_cache(maxsize=1024)
def _read(file: Path, module: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """A module's text and the names of what it imports; of a compiled one its hash, and nothing."""
    if file.suffix != ".py":
        return f"compiled, SHA-256 {sha256(file.read_bytes())}", ()
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8: {error}") from error
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return text, tuple(sorted(set(_imports(_parse(str(file), text), package))))


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Every module that an import statement, wherever it stands, or `import_module("…")` names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _prefixes(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(filter(None, [*parents, base]))
            for alias in node.names:  # a name may be a module of its own
                yield from _prefixes(f"{base}.{alias.name}" if base else alias.name)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            name = called.id if isinstance(called, ast.Name) else called
            first = node.args[0]
            if name == "import_module" and isinstance(first, ast.Constant):
                yield from _prefixes(str(first.value))


def _prefixes(module: str) -> Iterator[str]:
    """`a.b.c` imports a, a.b and a.b.c."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def import_part(module: str) -> ModuleType:
    """Import a module; anew where it, or one beside it, changed since it was imported.

    So a process that stays (a notebook, a test) never uses other code than it takes the
    fingerprint of, nor another project's module of the same name.
    """
    if module.partition(".")[0] in OURS:
        return importlib.import_module(module)
    importlib.invalidate_caches()
    try:
        installed = _where(module)[1]
        code = code_of(module)
    except InputError:
        return importlib.import_module(module)  # which says better what is wrong with it
    if installed:  # it does not change under a process
        return importlib.import_module(module)
    files = {_module_at(path): code.folder / path for path in code.sources}
    digests = {_module_at(path): _digest(path, text) for path, text in code.sources.items()}
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
    _imported[module] = code.fingerprint
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
        found = code_of(name).fingerprint
        if found != wanted:
            raise InputError(f"code of {name}: {found[:12]} here, {wanted[:12]} asked for")


def sources_of(recorded: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """The code of parts by fingerprint; InputError where it is not the recorded one."""
    check_fingerprints(recorded)
    found = {code_of(name).fingerprint: code_of(name).sources for name in recorded}
    return {digest: found[digest] for digest in sorted(found)}


@lru_cache
def commit_of(folder: Path) -> str:
    """The git commit a folder belongs to; `+changes` where code or YAML in it is not committed."""
    command = ["git", "-C", str(folder)]
    changed = ["status", "--porcelain", "--", "*.py", "*.yaml", "*.yml"]
    try:
        commit, changes = (
            subprocess.run(
                [*command, *more], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for more in (["rev-parse", "HEAD"], changed)
        )
    except (OSError, subprocess.SubprocessError):
        return "not a checkout"
    return f"{commit}+changes" if changes else commit
