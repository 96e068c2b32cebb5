"""Files beside a search space: none hides what a run imports, and one that would be is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import spaces

from equigrid.errors import NameTakenError
from equigrid.own_parts import beside
from equigrid.own_parts.beside import hiding, importable
from equigrid.own_parts.source_code import code_of


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(beside, "_folders", [])


def test_a_folder_comes_after_everything_else_and_before_older_ones(tmp_path: Path) -> None:
    one, other, before = tmp_path / "one", tmp_path / "other", list(sys.path)
    for folder in (one, other, one):
        importable(folder)
    assert sys.path == [*before, str(one), str(other)]
    sys.path[:] = before  # as whoever puts the path back
    importable(other)
    assert sys.path == [*before, str(other)]


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        ("statistics.py", "Python's own module"),
        ("time.py", "Python's own module"),
        ("types/__init__.py", "Python's own module"),
        ("random.cpython-311-x86_64-linux-gnu.so", "Python's own module"),
        ("equigrid/__init__.py", "equigrid itself"),
        ("torch.py", "a package that equigrid needs"),
        ("click.py", "a package that equigrid needs"),
        ("hypothesis.py", "another module"),
    ],
)
def test_a_part_or_helper_that_another_module_hides_is_refused(
    file: str, whose: str, tmp_path: Path
) -> None:
    name = file.partition(".")[0].partition("/")[0]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (tmp_path / "net.py").write_text(f"import os\n\n\ndef f():\n    import {name}\n")
    importable(tmp_path)
    said = f"{name!r} is {whose}, so {path} is never imported: rename that file"
    with pytest.raises(NameTakenError) as refused:
        code_of("net:f")
    assert str(refused.value) == f"{tmp_path / 'net.py'}:5: {said}"
    with pytest.raises(NameTakenError) as refused:
        code_of(f"{name}:f")
    assert str(refused.value) == said


def test_a_copy_of_what_is_imported_is_no_other_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until one of them is edited: then it is told which one counts."""
    first, copy = tmp_path / "lab" / "net.py", tmp_path / "here" / "net.py"
    for file in (first, copy):
        file.parent.mkdir()
        file.write_text("def f(): ...\n")
    monkeypatch.syspath_prepend(str(first.parent))
    importable(copy.parent)
    assert code_of("net:f").files == {"net.py": first}
    copy.write_text("def f(): return 1\n")
    with pytest.raises(NameTakenError, match=f"'net' is another module, so {copy} is never"):
        code_of("net:f")


def test_a_file_that_nothing_of_ones_own_imports_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "statistics.py").touch()
    (tmp_path / "numpy").mkdir()
    (tmp_path / "net.py").write_text("import numpy, queue\n")
    importable(tmp_path)
    assert list(code_of("net:f").sources) == ["net.py"]


def test_a_run_is_refused_before_any_work(tmp_path: Path) -> None:
    rows = {"Own": {"model": "net:Net", "objective": "augmented", "grid": {"lr": [0.1]}}}
    spaces.write(tmp_path / "tiny.yaml", rows=rows)
    (tmp_path / "net.py").write_text("from statistics import fmean\n\n\nclass Net: ...\n")
    (tmp_path / "statistics.py").write_text("def fmean(values):\n    return 0\n")
    for command in ("plan", "run"):
        done = spaces.in_this_process(command, "tiny.yaml", folder=tmp_path, expect=2)
        assert f"{tmp_path / 'net.py'}:1: 'statistics' is Python's own module" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "workspace").exists()


def test_what_pythonpath_hides_is_named_where_it_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `module load` leaves it: the packages of another Python."""
    old = tmp_path / "old"
    (old / "numpy").mkdir(parents=True)
    (old / "numpy" / "__init__.py").write_text("raise ImportError('for another Python')\n")
    (old / "unknown.py").touch()
    spaces.write(tmp_path / "tiny.yaml")
    paths = os.pathsep.join([str(old), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = spaces.equigrid(
        "plan", "tiny.yaml", folder=tmp_path, environ={"PYTHONPATH": paths}, expect=2
    )
    hidden = f"PYTHONPATH has {old} (numpy) in place of what is installed"
    assert done.stderr == f"equigrid: ImportError: for another Python; {hidden}: unset it\n"
    monkeypatch.setenv("PYTHONPATH", paths)
    assert hiding() == hidden
