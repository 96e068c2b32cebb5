"""What a search space can name, in a line each: from the registry, the schema and docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from equigrid.config.schema import ColumnSpec, ResourcesSpec, RowSpec, SearchSpace, TrainingSpec
from equigrid.errors import InputError
from equigrid.lookup import dataset_builder, metric_entry, model_entry, objective_entry
from equigrid.own_parts.installed import installed_parts, part_named
from equigrid.registry import (
    DATASETS,
    METRICS,
    MODELS,
    OBJECTIVES,
    OPTIMISERS,
    SCHEDULES,
    TASKS,
    Tasks,
)

#: In the order in which they are listed.
KINDS = {
    "search-spaces": "Packaged search spaces",
    "groups": "Groups",
    "datasets": "Dataset builders",
    "models": "Models",
    "objectives": "Objectives",
    "metrics": "Metrics",
    "tasks": "Tasks",
    "optimizers": "Optimizers",
    "schedules": "Schedules of the learning rate",
    "training": "Settings of `training`",
    "rows": "Settings of a row",
    "columns": "Settings of a column",
    "top": "Further keys of a search space",
}
GROUPS = {
    "C1": "the identity alone: nothing moves",
    "C2, C3, …": "rotations of the plane by 360°/n",
    "D1, D2, …": "the same and reflections; D1 is one mirror, D4 the symmetries of a square",
    "octahedral": "the 24 rotations of a cube, on volumes",
    "C4xC4, D1xD1, …": "a product: each factor acts on its own part of an input",
    "module:object": "a FiniteGroup of your own",
}
SCHEDULE_TEXTS = {
    "constant": "the learning rate of the grid throughout",
    "linear": "in equal steps to a part of the rate, by the last epoch or another",
    "exponential": "by equal factors to a part of the rate, by the last epoch or another",
    "plateau": "lower by a factor after epochs without a better validation loss",
}


@dataclass(frozen=True)
class Setting:
    """text: type, default, and what it means where that is written down."""

    name: str
    text: str


@dataclass(frozen=True)
class Entry:
    name: str
    what: str
    settings: tuple[Setting, ...] = ()


def catalogue(kind: str) -> list[Entry]:
    """The entries of one of KINDS, the packaged ones first; InputError for a broken one."""
    makers: Mapping[str, Callable[[], Iterator[Entry]]] = {
        "search-spaces": _search_spaces, "groups": _groups, "datasets": _datasets,
        "models": _models, "objectives": _objectives, "metrics": _metrics, "tasks": _tasks,
        "optimizers": _optimizers, "schedules": _schedules,
        "training": lambda: _keys(TrainingSpec), "rows": lambda: _keys(RowSpec),
        "columns": lambda: _keys(ColumnSpec), "top": _top,
    }  # fmt: skip
    return list(makers[kind]())


def markdown(kinds: list[str]) -> str:
    """A page of them: a heading each, a line an entry, its settings below."""
    lines = [
        "# Reference: what a search space can name", "",
        "Made by `equigrid list --markdown`. [extending.md](extending.md) explains the parts, and",
        "how to bring your own.",
    ]  # fmt: skip
    for kind in kinds:
        lines += ["", f"## {KINDS[kind]}", ""]
        for entry in catalogue(kind):
            lines.append(f"- **`{entry.name}`**: {entry.what}")
            lines += [f"    - `{setting.name}`: {setting.text}" for setting in entry.settings]
    return "\n".join(lines)


def _search_spaces() -> Iterator[Entry]:
    for path in sorted(resources.files("equigrid.search_spaces").iterdir(), key=lambda it: it.name):
        if path.name.endswith(".yaml"):
            content = yaml.safe_load(path.read_text("utf-8"))
            profiles = ", ".join(content.get("profiles", {}))
            what = str(content.get("title", ""))
            yield Entry(
                path.name.removesuffix(".yaml"),
                what + (f"; profiles: {profiles}" if profiles else ""),
            )


def _groups() -> Iterator[Entry]:
    yield from (Entry(name, what) for name, what in GROUPS.items())


def _datasets() -> Iterator[Entry]:
    for name in (*DATASETS, *installed_parts("datasets")):
        found = dataset_builder(_full("datasets", name, DATASETS))
        target = f"{found.__module__}:{found.__qualname__}"
        yield Entry(name, _first_line(target), tuple(_settings(found.Parameters)))


def _models() -> Iterator[Entry]:
    for name in (*MODELS, *installed_parts("models")):
        entry = _entry(model_entry, _full("models", name, MODELS), MODELS)
        what = f"{_first_line(entry.target)} [{_tasks_of(entry.task)}]"
        yield Entry(name, what, tuple(_settings(entry.parameters)))


def _objectives() -> Iterator[Entry]:
    for name in (*OBJECTIVES, *installed_parts("objectives")):
        entry = _entry(objective_entry, _full("objectives", name, OBJECTIVES), OBJECTIVES)
        searched = f"; its grid has {', '.join(entry.searched)}" if entry.searched else ""
        what = f"{_first_line(entry.target)} [{_tasks_of(entry.task)}{searched}]"
        yield Entry(name, what, tuple(_settings(entry.parameters)))


def _metrics() -> Iterator[Entry]:
    for name in (*METRICS, *installed_parts("metrics")):
        entry = _entry(metric_entry, _full("metrics", name, METRICS), METRICS)
        better = "higher" if entry.higher_is_better else "lower"
        yield Entry(name, f"{_first_line(entry.target)} [{better} is better]")


def _tasks() -> Iterator[Entry]:
    yield from (Entry(name, _first_line(entry.target)) for name, entry in TASKS.items())


def _optimizers() -> Iterator[Entry]:
    for name, each in OPTIMISERS.items():
        yield Entry(name, f"torch.optim.{each.target}", tuple(_settings(each.parameters)))


def _schedules() -> Iterator[Entry]:
    for name, model in SCHEDULES.items():
        yield Entry(name, SCHEDULE_TEXTS[name], tuple(_settings(model)))


def _keys(model: type[BaseModel]) -> Iterator[Entry]:
    yield from (Entry(setting.name, setting.text) for setting in _settings(model))


def _top() -> Iterator[Entry]:
    apart = {"datasets", "columns", "rows", "training"}
    yield from (it for it in _keys(SearchSpace) if it.name not in apart)
    yield from (Entry(f"resources.{it.name}", it.what) for it in _keys(ResourcesSpec))


def _full(kind: str, name: str, packaged: Mapping[str, Any]) -> str:
    return name if name in packaged else str(part_named(kind, name))


def _entry(look_up: Callable[[str], Any], name: str, packaged: Mapping[str, Any]) -> Any:
    # What a packaged part needs need not be installed to be listed.
    return packaged[name] if name in packaged else look_up(name)


def _tasks_of(tasks: Tasks) -> str:
    return tasks if isinstance(tasks, str) else ", ".join(tasks)


def _first_line(target: str) -> str:
    """The first sentence of a class's docstring, from its file: torch takes a second to import."""
    module, _, name = target.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"{target}: no such module")
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            text = ast.get_docstring(node) or ""
            return " ".join(re.split(r"\n\n|(?<=[.?])\s", text, maxsplit=1)[0].split())
        if isinstance(node, ast.ImportFrom) and any(it.name == name for it in node.names):
            return _first_line(f"{node.module}:{name}")
    return ""


def _settings(model: type[BaseModel]) -> Iterator[Setting]:
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        text = _type(field.annotation)
        if field.is_required():
            text += ", required"
        elif field.default is not PydanticUndefined and field.default is not None:
            text += f", default {_plain(field.default)}"
        shown = field.alias or name
        yield Setting(shown, f"{text}. {meanings[name]}" if meanings.get(name) else text)


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """`name: what` and `one, other: what` of a docstring's paragraphs, by field."""
    found: dict[str, str] = {}
    fields = "|".join(map(re.escape, model.model_fields))
    if not fields or not (text := inspect.getdoc(model)) or model.__doc__ is None:
        return found
    text = " ".join(text.split())
    pattern = rf"(?:^|(?<=[.;] )|(?<=\. ))((?:{fields})(?:, (?:{fields}))*): "
    parts = re.split(pattern, text)
    for names, meaning in zip(parts[1::2], parts[2::2], strict=True):
        for name in names.split(", "):
            found[name] = meaning.strip().rstrip(".;")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        inside = {n: it for n, it in value.model_dump().items() if it is not None}
        return f"`{inside}`" if not isinstance(value, TrainingSpec) else "see `training`"
    if isinstance(value, dict) and set(value) == {"name"}:
        return f"`{value['name']}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value!r}`".replace("'", "")


def _type(annotation: Any) -> str:
    """In a reader's words: `whole number`, `a list of numbers`, `one of a, b`."""
    origin, inside = get_origin(annotation), get_args(annotation)
    words = {int: "whole number", float: "number", bool: "true or false", str: "text",
             dict: "a mapping", type(None): "nothing"}  # fmt: skip
    if origin is Annotated:
        return _type(inside[0])
    if origin is Literal:
        return "one of " + ", ".join(f"`{it}`" for it in inside)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(it) for it in inside if it is not type(None))
    if origin in (list, tuple, set):
        of = {it for it in inside if it is not Ellipsis}
        return f"a list ({' or '.join(sorted(map(_type, of)))})"
    if origin is dict or annotation is typing.Any:
        return "a mapping" if origin is dict else "text or a mapping"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "{" + ", ".join(annotation.model_fields) + "}"
    return words.get(annotation, str(annotation))
