"""From a name in a search space to what is behind it: a registry entry, or `module:object`.

The object from outside says of itself what an entry says (see docs/extending.md).
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter

from equigrid.errors import InputError
from equigrid.own_parts.imports import is_external
from equigrid.own_parts.installed import installed_parts
from equigrid.own_parts.source_code import import_part
from equigrid.own_parts.user_errors import users_code
from equigrid.parameters import NonNegative, parameters_of
from equigrid.registry import (
    DATASETS,
    HYPERPARAMETER,
    METRICS,
    MODELS,
    NUMBERED,
    OBJECTIVES,
    OPTIMISER_SEARCHED,
    TASKS,
    MetricEntry,
    ModelEntry,
    ObjectiveEntry,
    PartEntry,
    TaskEntry,
    Tasks,
)
from equigrid.trial import COMPONENT, COMPONENTS, shown

Known = TypeVar("Known")


def load(target: str) -> Any:
    """The object behind `module:object`; InputError where there is none."""
    if not COMPONENT.fullmatch(target):  # no record could hold it
        raise InputError(f"{shown(target)} is not {COMPONENTS}")
    module_name, _, attribute = target.partition(":")
    with users_code(target):
        try:
            module = import_part(module_name)
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):
                raise
            text = f"{target!r}: no module {module_name!r} beside the search space"
            raise InputError(text) from None
    if not hasattr(module, attribute):
        raise InputError(f"{target!r}: {module_name} has no {attribute!r}")
    return getattr(module, attribute)


def _parameters(part: str, target: Any, by_group: bool = False) -> type[BaseModel]:
    """Those a search space may set; InputError where they cannot be."""
    with users_code(part):
        found = parameters_of(target, but="group" if by_group else "")
    if "name" in found.model_fields:  # in records and run keys it is the part's own
        raise InputError(f"{part!r} has a parameter 'name', which stands for the part: rename it")
    return found


def _load_callable(name: str) -> Any:
    found = load(name)
    if not callable(found) or inspect.isbuiltin(found):
        raise InputError(f"{name!r} is no class or function of yours")
    try:
        inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name!r}: {error}") from error
    return found


def _facts(
    found: Any, entries: Mapping[str, Any], default: PartEntry, *names: str
) -> dict[str, Any]:
    """What a part from outside says of itself, by the names of an entry's fields.

    What it does not say is as of the packaged class that it inherits from, or `default`'s.
    """
    by_target = {entry.target: entry for entry in entries.values()}
    classes = found.__mro__ if inspect.isclass(found) else ()
    targets = [f"{each.__module__}:{each.__qualname__}" for each in classes]
    base = next((by_target[target] for target in targets if target in by_target), default)
    return {name: getattr(found, name, getattr(base, name)) for name in names}


def model_entry(name: str) -> ModelEntry:
    if not is_external(name):
        return _known("model", name, MODELS)
    found = _load_callable(name)
    facts = _facts(
        found, MODELS, ModelEntry(name),
        "trivial", "task", "axes", "latent_maps", "by_group", "invariant",
    )  # fmt: skip
    return ModelEntry(name, _parameters(name, found, facts["by_group"]), **facts)


def objective_entry(name: str) -> ObjectiveEntry:
    if not is_external(name):
        return _known("objective", name, OBJECTIVES)
    found = _load_callable(name)
    if inspect.isclass(found) and not any("__call__" in vars(base) for base in found.__mro__):
        raise InputError(f"{name!r} is never called with a batch: it lacks __call__")
    facts = _facts(
        found, OBJECTIVES, ObjectiveEntry(name),
        "searched", "task", "needs_latent", "passes", "scores",
    )  # fmt: skip
    facts["searched"] = _searched(name, facts["searched"])
    facts["scores"] = tuple(facts["scores"])
    return ObjectiveEntry(name, _parameters(name, found), **facts)


def _searched(part: str, declared: Any) -> dict[str, Any]:
    """The hyperparameters of an objective from outside: names alone are of numbers from 0 on."""
    if not isinstance(declared, Mapping):
        declared = dict.fromkeys(declared, NonNegative)
    for name, annotation in declared.items():
        if not isinstance(name, str) or not HYPERPARAMETER.fullmatch(name):
            raise InputError(f"{part!r} searches {name!r}: not a name")
        if name in OPTIMISER_SEARCHED:
            raise InputError(f"{part!r} searches {name!r}, which is the optimiser's")
        with users_code(part):
            TypeAdapter(annotation)
    return dict(declared)


def dataset_builder(name: str) -> Any:
    """The builder class behind a name: see equigrid.datasets.builder.Builder."""
    found = load(name if is_external(name) else _known("dataset builder", name, DATASETS))
    parameters = getattr(found, "Parameters", None)
    if not (inspect.isclass(found) and inspect.isclass(parameters)
            and hasattr(parameters, "model_fields")):  # fmt: skip
        raise InputError(f"{name!r} is not a Builder: see equigrid.datasets.builder")
    if inspect.isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise InputError(f"{name!r} lacks {lacking}: see equigrid.datasets.builder")
    return found


def _known(kind: str, name: str, entries: Mapping[str, Known]) -> Known:
    if name not in entries:
        installed = installed_parts(f"{kind.split()[0]}s")
        allowed = ", ".join(sorted({*entries, *installed}))
        raise InputError(f"unknown {kind} {name!r}; allowed: {allowed}, or module:object")
    found = entries[name]
    requires = found.requires if isinstance(found, PartEntry) else ()
    if absent := [it for it in requires if importlib.util.find_spec(it) is None]:
        remedy = f"pip install 'equigrid[{getattr(found, 'extra', '')}]'"
        raise InputError(f"{kind} {name!r} needs {', '.join(absent)}: {remedy}")
    return found


def published_names() -> tuple[str, ...]:
    """The published tables that a search space can name."""
    text = resources.files("equigrid.reporting").joinpath("published.yaml").read_text("utf-8")
    return tuple(yaml.safe_load(text))


def task_entry(name: str) -> TaskEntry:
    if not is_external(name):
        return _known("task", name, TASKS)
    found = _load_callable(name)
    _check_methods(name, found, ("loss", "predict", "keep", "mean_loss"))
    like = getattr(found, "like", None)
    if like is not None and like not in TASKS:
        raise InputError(f"{name!r} is like {like!r}; allowed: {', '.join(TASKS)}")
    return TaskEntry(name, like=like)


def metric_entry(name: str) -> MetricEntry:
    if not is_external(name):
        return _known("metric", name, METRICS)
    found = _load_callable(name)
    _check_methods(name, found, ("update", "compute"))
    unknown: Any = None
    facts = _facts(found, METRICS, MetricEntry(name, unknown), "higher_is_better", "reads")
    if not isinstance(facts["higher_is_better"], bool):
        raise InputError(f"{name!r} does not say whether higher_is_better: True or False")
    if facts["reads"] not in ("outputs", "latents"):
        raise InputError(f"{name!r} reads {facts['reads']!r}; allowed: outputs, latents")
    # What agrees with a published value is the metric's own to say.
    margin, relative = getattr(found, "margin", None), getattr(found, "relative", False)
    share = bool(getattr(found, "is_share", False))
    return MetricEntry(name, margin=margin, relative=relative, is_share=share, **facts)


def _check_methods(name: str, found: Any, methods: Sequence[str]) -> None:
    if lacking := [method for method in methods if not callable(getattr(found, method, None))]:
        raise InputError(f"{name!r} lacks {', '.join(lacking)}: see docs/extending.md")


def serves(tasks: Tasks, needed: str) -> bool:
    """Whether a model or objective for `tasks` can work on datasets of `needed`."""
    served = (tasks,) if isinstance(tasks, str) else tasks
    return needed in served or task_entry(needed).like in served


def score_kind(name: str) -> str:
    """`count_3` → `count`: a score of an objective's own, without the number behind it."""
    return name.partition("_")[0] if NUMBERED.fullmatch(name) else name
