"""A name beside the search space that hides what a run imports is told before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import spaces

from pipeline.errors import InputError
from pipeline.own_parts.beside import importable


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        ("statistics.py", "Python's own module 'statistics'"),
        ("queue.py", "Python's own module 'queue'"),
        ("types/__init__.py", "Python's own module 'types'"),
        ("random.cpython-311-x86_64-linux-gnu.so", "Python's own module 'random'"),
        ("stages.py", "equigrid's package 'stages'"),
        ("pipeline/__init__.py", "equigrid's package 'pipeline'"),
        ("torch.py", "the package 'torch'"),
        ("yaml/__init__.py", "the package 'yaml'"),
        ("click.py", "the package 'click'"),
        ("filelock.py", "the package 'filelock'"),
    ],
)
def test_what_hides_a_module_is_refused_with_its_file(
    file: str, whose: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    before = list(sys.path)
    with pytest.raises(InputError, match=f"would be imported in place of {whose}: rename it") as it:
        importable(tmp_path)
    assert str(it.value).startswith(str(path))
    assert sys.path == before


def test_what_hides_nothing_is_left_alone(tmp_path: Path) -> None:
    """Own modules, folders that are no packages, what is installed and not needed; and a search
    space beside equigrid's own packages, which are those in use."""
    for name in ("net.py", "models.py", "tests.py", "test.py", "hypothesis.py", "queue.yaml",
                 "docs/__init__.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("pipeline", "google", "queue", "numpy"):
        (tmp_path / name).mkdir()
    importable(tmp_path)
    assert sys.path[0] == str(tmp_path)
    importable(Path(__file__).parents[2])
    importable(tmp_path)
    assert sys.path[0] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_run_is_refused_before_any_work(tmp_path: Path) -> None:
    spaces.write(tmp_path / "tiny.yaml")
    (tmp_path / "statistics.py").write_text("def fmean(values):\n    return 0\n")
    for command in ("plan", "run"):
        done = spaces.in_this_process(command, "tiny.yaml", folder=tmp_path, expect=2)
        assert done.stderr.startswith(f"equigrid: {tmp_path / 'statistics.py'} would be imported")
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "workspace").exists()
