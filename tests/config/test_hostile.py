"""Hostile search spaces: each is read or refused in one line, soon, and never with a traceback."""

from __future__ import annotations

import copy
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import spaces
import yaml

from equigrid.config.yaml_lines import parse

COUNT = 200
#: Seconds that any one may take.
LIMIT = 20

OWN = """\
import numpy as np
from equigrid.datasets.ddmnist import DDMNIST
from equigrid.models.small_cnn import SmallCNN
from equigrid.symmetry import FiniteGroup, group_by_name


class Data(DDMNIST):
    version = 7


class Network(SmallCNN):
    pass


class Objective:
    searched = ("lambda",)

    def __init__(self, hyperparameters, *, sharpness: float = 1.0, word: str = "x"): ...

    def __call__(self, model, batch, task): ...


def mirror():
    return group_by_name("D1xD1")


def broken():
    return FiniteGroup("broken", np.zeros((2, 2), int), (0,))


def endless():
    raise RecursionError("too deep")


NUMBER = 3
"""

BASE: dict[str, Any] = {
    "title": "A table",
    "notes": ["one"],
    "published": "table4",
    "datasets": {
        "D1": spaces.DATASET,
        "own": spaces.DATASET | {"builder": "own:Data", "group": "own:mirror"},
    },
    "columns": {
        "augmented": {"dataset": "D1", "split": "test_augmented", "metric": "accuracy"},
        "plain": {"dataset": "own", "split": "test", "metric": "accuracy", "margin": 0.1},
    },
    "rows": {
        "Chance": {"model": "majority"},
        "CNN": {"model": {"small_cnn": {"width": 4}}, "objective": "augmented",
                "grid": {"lr": [0.003, 0.01]}, "grid_for": {"D1": {"lr": [0.1]}}},
        "Own": {"model": {"own:Network": {"latent": 8}},
                "objective": {"own:Objective": {"sharpness": 2.0}},
                "grid": {"lr": [0.003], "lambda": [0.5, 2]}},
    },
    "training": {"epochs": 3, "batch_size": 20, "trend": {"after": 1, "window": 1},
                 "weight_decay": 1e-4, "lr_decay": 0.9, "tested": "last"},
    "seeds": {"grid": [0], "final": [0, 1]},
    "resources": {"cpu": 1, "gpu": 0.5},
    "retries": 1,
    "profiles": {"small": {"training": {"epochs": 2}, "rows": {"CNN": {"grid": {"lr": [1.0]}}}}},
}  # fmt: skip

#: And the packaged ones.
BASES = [BASE] * 3 + [
    parse(path.read_text("utf-8"), path.name).value
    for path in sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
]

NAMES = [
    "", " ", "a" * 70, "a/b", "../up", "\x1b[31m", "[/red]", "{x}", "%s", "λ", "A ", "a\nb", "null",
    "own", "D1", "CNN", "small", "0", "-", "__class__", "own:Data", "nan",
]  # fmt: skip
PARTS = [
    "own:Data", "own:Network", "own:Objective", "own:mirror", "own:broken", "own:endless",
    "own:NUMBER", "own:", ":Data", "own:no", "no:no", "os:system", "os.path:join", "builtins:list",
    "builtins:print", "numpy:zeros", "equigrid.registry:MODELS", "own:Data:more", "own.Data",
    "torch.nn:Linear", "antigravity:fly", "C4xC4xC4xC4xC4xC4", "C0", "C-1", "C99999999999", "D0",
    "C4x", "xC4", "S9", "octahedral", "C1", "ddmnist", "medmnist3d", "smoke", "resnet3d",
    "field_cnn", "persistence", "majority", "regular_representation", "autoregressive",
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e-320, 1e308, float("inf"),
    float("nan"), True, False, 10**6, 48, 47,
]  # fmt: skip
SHAPES: list[Any] = [
    None, [], {}, [[]], {"a": {}}, [0], [1, 1], [True], ["0.1"], list(range(5000)), {"": ""},
    {1: 2}, {None: None}, {True: 1}, {(1, 2): 3}, [None], {"lr": [1]}, {"small_cnn": {"width": 0}},
    {"small_cnn": {"latent": 10**9}}, {"small_cnn": {}, "resnet3d": {}}, {"augmented": 1},
]  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything within a value."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield (*at, key)
        if isinstance(value[key], dict | list):
            yield from places(value[key], (*at, key))


def changed(content: dict[str, Any], chance: random.Random) -> None:
    """One hostile change anywhere."""
    *parents, key = chance.choice(list(places(content)))
    holder: Any = content
    for parent in parents:
        holder = holder[parent]
    what = chance.choice(["value", "value", "value", "delete", "rename", "add", "copy"])
    if what == "delete":
        del holder[key]
    elif what == "rename" and isinstance(holder, dict):
        holder[chance.choice([*NAMES, *PARTS, *NUMBERS])] = holder.pop(key)
    elif what == "add" and isinstance(holder, dict):
        holder[chance.choice(NAMES)] = chance.choice([*NUMBERS, *SHAPES])
    elif what == "copy":
        *_, place = places(content)
        found: Any = content
        for part in chance.choice([place, *places(content)]):
            found = found[part]
        holder[key] = copy.deepcopy(found)
    elif chance.random() < 0.7:
        holder[key] = like(holder[key], chance)
    else:
        holder[key] = chance.choice([*NAMES, *PARTS, *NUMBERS, *SHAPES])


def like(value: Any, chance: random.Random) -> Any:
    """Of the same type, so that it comes further than the schema."""
    if isinstance(value, bool | int | float):
        return chance.choice(NUMBERS)
    if value is None or isinstance(value, str):
        return chance.choice([*PARTS, *NAMES])
    if isinstance(value, list):
        return chance.choice([
            [1e-3 * n for n in range(1, 9000)], list(range(9000)), [chance.choice(NUMBERS)],
            [*value, *value], [*value, 1e-300], list(reversed(value)),
        ])  # fmt: skip
    return {key: like(each, chance) for key, each in value.items()}


def damaged(text: bytes, chance: random.Random) -> bytes:
    """The same file with hostile bytes."""
    at = chance.randrange(len(text))
    return chance.choice([
        text[:at],
        text[:at] + bytes(chance.randrange(256) for _ in range(3)) + text[at:],
        text[:at] + b"\t" + text[at:],
        text[:at] + b"\n" + text[at:],
        text.replace(b": ", b":", 1) if chance.random() < 0.5 else text.replace(b":", b": :", 1),
        text + text,
        b"\xff\xfe" + text,
        text.replace(b"A table", b"!!python/object/apply:os.system ['true']"),
        text.replace(b"A table", b"*nowhere"),
        text.replace(b"A table", b"{" * 2000),
        text.replace(b"A table", b"2026-11-26 10:00:00"),
        text.replace(b"0.003", b"9" * 5000),
        b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 9)) for c in range(97, 107)
        ) + text,
        b"title: &t [*t]\n" + text,
        b"---\n" + text + b"---\n" + text,
    ])  # fmt: skip


def hostile(number: int) -> bytes:
    """The same bytes for the same number, on every machine."""
    chance = random.Random(number)
    content = copy.deepcopy(chance.choice(BASES))
    if number % 4:
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            changed(content, chance)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    return damaged(yaml.safe_dump(content, sort_keys=False).encode(), chance)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def out_of_time(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(number: int, folder: Path) -> str:
    """What is wrong with how a hostile search space is taken; empty where nothing is."""
    path = folder / f"space{number}.yaml"
    path.write_bytes(hostile(number))
    try:
        with at_most(LIMIT):
            done = spaces.in_this_process("plan", path.name, folder=folder, expect=None)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would be a traceback
        return f"{number}: {type(error).__name__}: {error}"
    if done.returncode == 0:
        return "" if "Plan of" in done.stdout else f"{number}: read, but no plan"
    lines = done.stderr.splitlines()
    if done.returncode != 2 or len(lines) != 1 or not lines[0].startswith("equigrid: "):
        return f"{number}: exit code {done.returncode}, {lines}"
    return "" if lines[0].isprintable() else f"{number}: {lines[0]!r}"


def test_two_hundred_are_refused_in_one_line_or_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUIGRID_RAW_DIR", str(tmp_path / "raw"))
    (tmp_path / "own.py").write_text(OWN)
    first = int(os.environ.get("EQUIGRID_HOSTILE_FROM", "0"))
    faults = [fault(number, tmp_path) for number in range(first, first + COUNT)]
    assert list(filter(None, faults)) == []
