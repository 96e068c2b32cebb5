"""The fingerprint of a part: by its syntax tree and what it imports beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.lookup import load
from pipeline.own_parts import source_code
from pipeline.own_parts.source_code import code_of, fingerprint

BASE = {"net.py": "import layers\n\n\ndef f(x):\n    return x + 1\n"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\nimport layers\ndef f(x): return x + 1",
        '"""A module."""\nimport layers\n\n\ndef f(x):\n    """F."""\n    return (x + 1)\n',
        "import layers\n\n\ndef f(\n    x,\n):\n    return x + 0x1\n",
    ],
)
def test_comments_docstrings_and_layout_change_nothing(text: str) -> None:
    assert fingerprint({"net.py": text}) == fingerprint(BASE)


@pytest.mark.parametrize(
    "text",
    [
        "import layers\n\n\ndef f(x):\n    return x + 2\n",
        "import layers\n\n\ndef f(x):\n    return x + 1.0\n",
        "import layers\n\n\ndef f(x, y=None):\n    return x + 1\n",
        "import layer\n\n\ndef f(x):\n    return x + 1\n",
        'import layers\n\n\ndef f(x):\n    x = "text"\n    return x + 1\n',
        "",
    ],
)
def test_anything_else_changes_it(text: str) -> None:
    assert fingerprint({"net.py": text}) != fingerprint(BASE)
    assert fingerprint({"other.py": BASE["net.py"]}) != fingerprint(BASE)


def test_a_fingerprint_stays_what_it_is() -> None:
    """Another value here retrains what everybody trained with code of their own."""
    text = 'class A:\n    """Doc."""\n\n    def f(self, *, a: int = 1):\n        return f"{a}"\n'
    assert fingerprint({"a.py": text}) == GOLDEN


GOLDEN = "4a4d80aa8f83793647549ed67277335c54a91e333f890e85756223b27c507fd6"


def test_modules_beside_it_count_however_they_are_imported(folder: Path) -> None:
    texts = {
        "part": "import torch, numpy\nfrom bag import tool as t\ndef f():\n    import late\n",
        "bag/__init__": "from . import inner\n",
        "bag/inner": "from .deep.down import X\n",
        "bag/deep/__init__": "",
        "bag/deep/down": "import importlib\nm = importlib.import_module('dynamic')\nX = 1\n",
        "bag/tool": "import pipeline.trial\nfrom . import inner\n",
        "late": "",
        "dynamic": "",
        "unused": "",
        "pipeline/__init__": "",
    }
    _write(folder, **texts)
    assert list(code_of("part:f").sources) == [
        "bag/__init__.py", "bag/deep/__init__.py", "bag/deep/down.py", "bag/inner.py",
        "bag/tool.py", "dynamic.py", "late.py", "part.py",
    ]  # fmt: skip


def test_of_an_installed_package_the_version_counts() -> None:
    assert list(code_of("sklearn.datasets:load_digits").sources) == ["sklearn"]
    assert list(code_of("math:sin").sources) == ["math"]


def test_what_changed_is_imported_anew_and_what_did_not_is_not(folder: Path) -> None:
    _write(folder, net="import layers\nimport other\nWIDTH = layers.WIDTH\n", layers="WIDTH = 1\n",
           other="", data="import layers\nSIZE = layers.WIDTH\n")  # fmt: skip
    first = load("net:other")
    assert (load("net:WIDTH"), load("data:SIZE")) == (1, 1)
    assert load("net:other") is first
    _write(folder, layers="WIDTH = 2\n")
    assert (load("data:SIZE"), load("net:WIDTH")) == (2, 2)
    assert not list(folder.glob("**/*.pyc"))


def test_a_module_of_the_same_name_elsewhere_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, width in (("one", 1), ("two", 2), ("one", 1)):
        (tmp_path / name).mkdir(exist_ok=True)
        _write(tmp_path / name, mynet="import mylayers\nW = mylayers.W\n", mylayers=f"W = {width}")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(tmp_path / name))
            found.append(load("mynet:W"))
    assert found == [1, 2, 1]


def test_what_is_no_python_is_told_with_its_line(folder: Path) -> None:
    _write(folder, broken="x = 1\ny = = 2\n")
    with pytest.raises(InputError, match=r"broken.py:2: not Python: invalid syntax"):
        code_of("broken:x")


def test_an_installed_package_is_not_imported_again() -> None:
    """NumPy imported a second time is another NumPy: its arrays are none of the first."""
    before = sys.modules["numpy"]
    assert source_code.import_part("numpy") is before
    assert sys.modules["numpy"] is before
