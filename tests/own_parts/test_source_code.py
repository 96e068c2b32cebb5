"""The fingerprint of a part: by its syntax tree and what it imports beside it."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from equigrid.config.resolution import resolve_dataset
from equigrid.config.schema import DatasetSpec
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError
from equigrid.lookup import load
from equigrid.own_parts import imports, source_code
from equigrid.own_parts.source_code import code_of, fingerprint

ROOT = Path(__file__).parents[2]
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
        "bag/tool": "import equigrid.trial, stages\nfrom . import inner\n",
        "late": "",
        "dynamic": "",
        "unused": "",
        "stages": "",
        "statistics": "",
    }
    _write(folder, **texts)
    assert list(code_of("part:f").sources) == [
        "bag/__init__.py", "bag/deep/__init__.py", "bag/deep/down.py", "bag/inner.py",
        "bag/tool.py", "dynamic.py", "late.py", "part.py", "stages.py",
    ]  # fmt: skip


def test_imports_are_followed_wherever_python_finds_them(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab's package in folders of its own: one package in two places, a star, a path put there
    by the part itself; what only stands beside it in those folders does not count."""
    first, second = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("more")
    hidden = tmp_path_factory.mktemp("hidden")
    _write(folder, part=f"import sys\nsys.path.append({str(hidden)!r})\nimport späte\n"
           "from lab.blocks import WIDTH\nfrom kit import *\n")  # fmt: skip
    _write(first, **{"lab/blocks": "import lab.sizes\nWIDTH = lab.sizes.WIDTH\n", "unused": "",
                     "kit/__init__": "__all__ = ['saw']\n", "kit/saw": ""})  # fmt: skip
    _write(second, **{"lab/sizes": "WIDTH = 8\n", "lab/unused": ""})
    _write(hidden, späte="")
    for place in (first, second):
        monkeypatch.syspath_prepend(str(place))
    load("part:WIDTH")
    sources = ["kit/__init__.py", "kit/saw.py", "lab/blocks.py", "lab/sizes.py"]
    assert list(code_of("part:WIDTH").sources) == [*sources, "part.py", "späte.py"]
    assert all(map(source_code.SOURCE.fullmatch, code_of("part:WIDTH").sources))
    before = code_of("part:WIDTH").fingerprint
    _write(second, **{"lab/sizes": "WIDTH = 16\n"})
    assert code_of("part:WIDTH").fingerprint != before
    assert load("part:WIDTH") == 16


def test_a_metric_that_a_dataset_names_is_in_its_recipe(folder: Path) -> None:
    """Where it is not among the sources of another part, as in the example: that stays as it is."""
    for name in ("rings", "regression"):
        shutil.copy(ROOT / "examples" / "rings" / f"{name}.py", folder)
    spec = DatasetSpec(builder="rings:Rings", group="C6")
    code = resolve_dataset("C6", spec).recipe(RawStore())["code"]
    assert list(code) == ["rings:Rings", "regression:Regression"]
    text = (folder / "rings.py").read_text()
    _write(folder, rings=text.replace("regression:MeanAbsoluteError", "measured:Error"),
           measured="from regression import MeanAbsoluteError as Error\n")  # fmt: skip
    code = resolve_dataset("C6", spec).recipe(RawStore())["code"]
    assert list(code)[2:] == ["measured:Error"]


@pytest.mark.parametrize(
    ("origin", "counts"),
    [
        (None, {"tool": "installed, version tool-kit 1.5"}),
        ({"url": "https://x/tool.whl", "archive_info": {}},
         {"tool": "installed, version tool-kit 1.5"}),
        ({"url": "file:///lab", "dir_info": {}}, {"tool.py": "SIZE = 1\n"}),
        ({"url": "https://x", "vcs_info": {}}, {"tool.py": "SIZE = 1\n"}),
    ],
)  # fmt: skip
def test_a_version_stands_for_what_came_from_an_index_and_for_nothing_else(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    origin: Mapping[str, object] | None,
    counts: Mapping[str, str],
) -> None:
    place = folder / "site-packages"
    _write(folder, part="import torch, numpy, json, tool\n")
    _write(place, tool="SIZE = 1\n")
    about = place / "tool_kit-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tool-kit\nVersion: 1.5\n")
    (about / "top_level.txt").write_text("tool\n")
    if origin is not None:
        (about / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(str(place))
    imports._of_index.cache_clear()
    assert code_of("part:x").sources == {"part.py": "import torch, numpy, json, tool\n", **counts}


def test_what_cannot_be_followed_is_named_with_its_line(folder: Path) -> None:
    _write(folder, part="import importlib, ctypes\nname = 'lay' + 'ers'\n"
           "importlib.import_module(name)\n__import__('layers')\nexec('import layers')\n"
           "ctypes.CDLL('fast.so')\nimportlib.import_module('.more', __package__)\n"
           "import fast\n", layers="")  # fmt: skip
    (folder / "fast.abi3.so").write_bytes(b"not one")
    code = code_of("part:x")
    assert list(code.sources) == ["fast.abi3.so", "layers.py", "part.py"]
    assert code.unseen == (
        "fast.abi3.so is compiled",
        "part.py:3: importlib.import_module(name)",
        "part.py:5: exec('import layers')",
        "part.py:6: ctypes.CDLL('fast.so')",
        "part.py:7: importlib.import_module('.more', __package__)",
    )


def test_what_equigrid_stands_on_is_no_part_of_a_key() -> None:
    """Of every requirement in pyproject.toml: else its next version trains everything anew."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    known = {
        canonicalize_name(distribution)
        for top, distributions in packages_distributions().items()
        if top in imports.STACK
        for distribution in distributions
    }
    assert {canonicalize_name(Requirement(it).name) for it in project["dependencies"]} <= known


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
