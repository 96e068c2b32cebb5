"""Two profiles side by side, and one of them in two workspaces."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import spaces

SEEDS = {"grid": [0], "final": [0, 1, 2]}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base, and a profile that trains longer and has two of its three rows."""
    folder = tmp_path_factory.mktemp("compare")
    longer = {"training": {"epochs": 5}, "columns": {"plain": {"metric": "accuracy"}}}
    spaces.write(folder / "tiny.yaml", seeds=SEEDS, profiles={"longer": longer})
    for more in ((), ("--profile", "longer")):
        spaces.in_this_process("run", "tiny.yaml", "--in-process", *more, folder=folder)
    return folder


def values(path: Path) -> dict[tuple[str, str], list[float]]:
    with path.open(newline="") as file:
        return {
            (it["row"], it["column"]): [float(value) for value in it["values"].split()]
            for it in csv.DictReader(file)
        }


def test_profiles_are_paired_by_the_seeds_they_share(done: Path) -> None:
    said = spaces.in_this_process(
        "compare", "tiny.yaml", "tiny.yaml:longer", "-o", "both.csv", folder=done
    ).stdout
    assert "tiny.longer" in said
    assert "commit " in said
    tables = done / "workspace" / "tables"
    first, second = (values(tables / name / "table.csv") for name in ("tiny", "tiny.longer"))
    with (done / "both.csv").open(newline="") as file:
        lines = {(it["row"], it["column"]): it for it in csv.DictReader(file)}
    assert lines.keys() == first.keys() == second.keys()
    for place, line in lines.items():
        pairs = list(zip(first[place], second[place], strict=True))
        expected = sum(b - a for a, b in pairs) / len(pairs)
        assert float(line["difference"]) == pytest.approx(expected)
        assert int(line["shared_seeds"]) == len(pairs)
        assert (line["low"] == "") == (place[0] == "Chance")  # one seed has no interval


def test_a_copy_elsewhere_does_not_differ(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "workspace", tmp_path / "before")
    said = spaces.in_this_process(
        "compare", "tiny.yaml", "tiny.yaml", "--other-workspace", tmp_path / "before", folder=done
    ).stdout
    assert "tiny (1)" in said
    assert "tiny (2)" in said
    assert "+0.000 [+0.000, +0.000], n=3" in said


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ("tiny.yaml:wider", "no profile 'wider'; it has: longer"),
        ("other.yaml", "other.yaml: no such file"),
        ("quickstart", "quickstart: nothing is finished in "),
    ],
)
def test_what_is_not_there_is_refused(second: str, reason: str, done: Path) -> None:
    told = spaces.in_this_process("compare", "tiny.yaml", second, folder=done, expect=2).stderr
    assert reason in told
    assert told.count("\n") == 1
