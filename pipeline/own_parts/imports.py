"""Where what a module of one's own imports lies: a file with its text, or a package of a version.

Found as Python would find it from here, and not imported. What is imported by a computed name, or
loaded by code itself, is not followed: it is named.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from equigrid.errors import InputError
from equigrid.files import sha256

#: Our own package: its version stands for its code.
OURS = frozenset({"equigrid"})
#: What they stand on, which is part of no key: the environment of a record tells its versions.
STACK = frozenset({
    "torch", "functorch", "torchgen", "numpy", "pandas", "h5py", "ray", "mlflow", "medmnist",
    "e3nn", "phi", "phiml", "pydantic", "pydantic_core", "typer", "rich", "pooch", "sklearn",
    "scipy", "threadpoolctl", "jinja2", "matplotlib", "mpl_toolkits", "pylab", "yaml",
    "safetensors", "PIL", "requests", "packaging", "sqlalchemy",
})  # fmt: skip

#: Of modules, in the order in which Python looks for them.
SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
#: Calls that import what they are given, and calls that load code in another way.
IMPORTS = ("import_module", "__import__")
LOADS = (
    "run_path", "run_module", "spec_from_file_location", "SourceFileLoader",
    "CDLL", "LoadLibrary", "load_library", "load_inline",
)  # fmt: skip


@dataclass(frozen=True)
class FoundModule:
    """What a name is. path: below the folder where its import begins; a package's name otherwise.

    text: its source; of what is compiled, or counts by its version, what stands for it.
    file: None where no source is here. imports: the names that it imports. unseen: what of its
    imports cannot be followed.
    """

    path: str
    text: str
    file: Path | None = None
    imports: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class Imports:
    """Finds modules by their names, as an import from here would, each once."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Path | None, Sequence[Path]]] = {}

    def knows(self, module: str) -> bool:
        """Whether a module of this name, or a folder that may hold some, lies anywhere."""
        file, places = self._place(module)
        return file is not None or bool(places)

    def file(self, module: str) -> Path | None:
        """What an import of it reads; None where that is no file."""
        return self._place(module)[0]

    def is_pythons(self, module: str) -> bool:
        """Whether it is of the standard library; or nowhere."""
        root = self._root(module)
        return root is None or (_lies_in(root, "stdlib", "platstdlib") and not _is_installed(root))

    def version(self, module: str) -> FoundModule | None:
        """What stands for a module of Python's own or of an installed package; None for others."""
        top, root = module.partition(".")[0], self._root(module)
        if root is None or not (_is_installed(root) or self.is_pythons(module)):
            return None
        text = _of_index(top) if _is_installed(root) else sys.version.split()[0]
        return None if text is None else FoundModule(top, f"installed, version {text}")

    def source(self, module: str) -> FoundModule | None:
        """The file of a module; None where there is none by this name."""
        file, _ = self._place(module)
        if file is None:
            return None
        if not file.is_file():
            return _in_archive(module, file)
        package = module if file.name.partition(".")[0] == "__init__" else module.rpartition(".")[0]
        path = "/".join([*filter(None, package.split(".")), file.name])
        status = file.stat()
        text, imports, unseen = _read(file, package, status.st_mtime_ns, status.st_size)
        return FoundModule(path, text, file, imports, tuple(f"{path}{it}" for it in unseen))

    def exported(self, package: str) -> tuple[str, ...]:
        """The names that `from package import *` may import."""
        file, _ = self._place(package)
        if file is None or file.name != "__init__.py" or not file.is_file():
            return ()
        return tuple(_exported(parse(str(file), file.read_text("utf-8"))))

    def _root(self, module: str) -> Path | None:
        """What the package of a module is found by, links followed."""
        file, places = self._place(module.partition(".")[0])
        root = file or next(iter(places), None)
        return None if root is None else root.resolve()

    def _place(self, module: str) -> tuple[Path | None, Sequence[Path]]:
        """Its file, if it has one; and, of a package, the folders of what lies below it."""
        if module not in self._places:
            above, _, name = module.rpartition(".")
            self._places[module] = _beside(name, self._place(above)[1]) if above else _top(name)
        return self._places[module]


def _top(name: str) -> tuple[Path | None, Sequence[Path]]:
    """By whatever finds it first: of an editable install that is no folder on the path."""
    finders = (it for it in sys.meta_path if hasattr(it, "find_spec"))
    spec = next(filter(None, (finder.find_spec(name, None) for finder in finders)), None)
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None, ()
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    return Path(spec.origin) if spec.origin else None, places


def file_beside(name: str, folder: Path) -> Path | None:
    """The file that `import name` takes where a folder is first on the path; None for none.

    A folder without `__init__.py` is not taken where there is a module of its name further on.
    """
    return _beside(name, [folder])[0]


def _beside(name: str, places: Sequence[Path]) -> tuple[Path | None, Sequence[Path]]:
    """As Python's own finder, which cannot be asked for what lies below what is not imported."""
    for place in places:
        for suffix in SUFFIXES:
            if (file := place / name / f"__init__{suffix}").is_file():
                return file, (place / name,)
        for suffix in SUFFIXES:
            if (file := place / f"{name}{suffix}").is_file():
                return file, ()
    return None, [place / name for place in places if (place / name).is_dir()]


def _is_installed(root: Path) -> bool:
    """Whether a file or folder lies where packages are installed to."""
    named = {"site-packages", "dist-packages"} & set(root.parts)
    return bool(named) or _lies_in(root, "purelib", "platlib")


def _lies_in(root: Path, *names: str) -> bool:
    return any(root.is_relative_to(_folder(name)) for name in names)


@lru_cache
def _folder(name: str) -> Path:
    """`stdlib`, `purelib`, …: where this Python has it."""
    return Path(sysconfig.get_path(name)).resolve()


def _in_archive(module: str, file: Path) -> FoundModule | None:
    """A module in a file that is a folder on the path."""
    archive = next((it for it in file.parents if it.is_file()), None)
    if archive is None:
        return None
    unseen = f"{module} lies in {archive.name}"
    text = f"{module} in an archive, SHA-256 {sha256(archive.read_bytes())}"
    return FoundModule(module, text, None, (), (unseen,))


@lru_cache(maxsize=256)
def _of_index(top: str) -> str | None:
    """The distributions of an installed package; None where a version does not stand for its code.

    That is so where nobody installed it, or from a folder or a repository: the same version may be
    other code there.
    """
    versions = []
    for name in sorted(set(packages_distributions().get(top, ()))):
        found = distribution(name)
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        # Packages of conda say where they were built.
        by_conda = (found.read_text("INSTALLER") or "").strip() == "conda"
        if {"dir_info", "vcs_info"} & origin.keys() and not by_conda:
            return None
        versions.append(f"{name} {found.version}")
    return ", ".join(versions) or None


@lru_cache(maxsize=4096)
def _read(
    file: Path, package: str, changed: int, size: int
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """A module's text, the names that it imports, and what of it cannot be followed."""
    if file.suffix not in SOURCE_SUFFIXES:
        return f"compiled, SHA-256 {sha256(file.read_bytes())}", (), (" is compiled",)
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8: {error}") from error
    tree = parse(str(file), text)
    imports, unseen = set[str](), []
    for node in ast.walk(tree):
        names = _imported(node, package)
        if names is None:
            line = getattr(node, "lineno", 0)
            unseen.append(f":{line}: {' '.join(ast.unparse(node).split())[:80]}")
        else:
            imports.update(names)
    return text, tuple(sorted(imports)), tuple(unseen)


def _exported(tree: ast.Module) -> Iterator[str]:
    """The texts in a module's `__all__`."""
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(it, ast.Name) and it.id == "__all__" for it in targets):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def parse(path: str, text: str) -> ast.Module:
    """The syntax tree; InputError where a source is no Python of this version."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{path}:{line}: not Python: {getattr(error, 'msg', error)}") from error


def line_of(file: Path, module: str) -> int:
    """Where a file imports a module first."""
    nodes = ast.walk(parse(str(file), file.read_text("utf-8")))
    return min(
        (node.lineno for node in nodes
         if isinstance(node, ast.stmt | ast.expr) and module in (_imported(node, "") or ())),
        default=1,
    )  # fmt: skip


def _imported(node: ast.AST, package: str) -> list[str] | None:
    """The modules that an import statement or a call imports; None where it does not say which."""
    if isinstance(node, ast.Import):
        return [it for alias in node.names for it in prefixes(alias.name)]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join(filter(None, [*parents, base]))
        # A name may be a module of its own.
        names = [f"{base}.{alias.name}" if base else alias.name for alias in node.names]
        return [it for name in names for it in prefixes(name)]
    if not isinstance(node, ast.Call):
        return []
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if called in IMPORTS:
        given = [*node.args, *(it.value for it in node.keywords if it.arg == "name")]
        name = given[0].value if given and isinstance(given[0], ast.Constant) else None
        if isinstance(name, str) and name.startswith("."):
            name = importlib.util.resolve_name(name, package) if package else None
        return list(prefixes(name)) if isinstance(name, str) else None
    is_exec = called == "exec" and isinstance(node.func, ast.Name)
    builds = called == "load" and any(it.arg == "sources" for it in node.keywords)  # of C++
    return None if called in LOADS or is_exec or builds else []


def is_external(name: str) -> bool:
    """Whether a name points outside the package (`module:object`)."""
    return ":" in name


def prefixes(module: str) -> Iterator[str]:
    """`a.b.c` imports a, a.b and a.b.c."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
