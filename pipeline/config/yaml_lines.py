"""YAML that keeps line numbers, reads 1e-4 as a number and refuses a key given twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from equigrid.errors import InputError

Path = tuple[str | int, ...]

#: Entries of a file: aliases within aliases could make billions of a few lines.
LARGEST = 100_000


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, which wants a dot in a float."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Located:
    """value: plain data; every key of a mapping is a string. lines: 1-based, by path."""

    value: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of the longest known part of a path."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def at(self, *path: str | int) -> Located:
        value = self.value
        for part in path:
            value = value[part]
        size = len(path)
        return Located(
            value, {place[size:]: n for place, n in self.lines.items() if place[:size] == path}
        )


def parse(text: str, source: str) -> Located:
    """Raises InputError `source:line: …` for anything that is not one plain YAML mapping."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{source}:{line}: not YAML: {error.reason}") from None
    open_nodes: set[int] = set()
    lines: dict[Path, int] = {}

    def construct(node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        if len(lines) > LARGEST:
            raise InputError(f"{source}:{line}: more than {LARGEST} entries")
        if id(node) in open_nodes:
            raise InputError(f"{source}:{line}: not YAML: an alias within what it stands for")
        open_nodes.add(id(node))
        try:
            return construct_new(node, path)
        except ValueError as error:
            raise InputError(f"{source}:{line}: not YAML: {error}") from None
        finally:
            open_nodes.discard(id(node))

    def construct_new(node: yaml.Node, path: Path) -> Any:
        lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key, value in node.value:
                place = f"{source}:{key.start_mark.line + 1}: "
                if not isinstance(key, yaml.ScalarNode):
                    raise InputError(f"{place}a key must be a name")
                if key.value in mapping:
                    raise InputError(f"{place}key {key.value!r} is given twice")
                lines[(*path, key.value)] = key.start_mark.line + 1
                mapping[key.value] = construct(value, (*path, key.value))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [construct(item, (*path, n)) for n, item in enumerate(node.value)]
        return loader.construct_object(node)

    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{source}:1: a search space is a mapping of keys to values")
        value = construct(root, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{source}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: not YAML: {error}") from None
    finally:
        loader.dispose()
    return Located(value, lines)


def merge(base: Located, override: Located) -> Located:
    """Maps merge, anything else replaces, None takes a map away.

    Lines point at what holds in the end.
    """
    lines = dict(base.lines)

    def combine(left: Any, right: Any, path: Path) -> Any:
        if path in override.lines:
            lines[path] = override.lines[path]
        if isinstance(left, dict) and isinstance(right, dict):
            both = dict(left)
            for key, value in right.items():
                if value is None and isinstance(left.get(key), dict):
                    del both[key]
                else:
                    both[key] = combine(left.get(key), value, (*path, key))
            return both
        for place, line in override.lines.items():
            if place[: len(path)] == path:
                lines[place] = line
        return right

    return Located(combine(base.value, override.value, ()), lines)
