"""What pyproject.toml says of the package is so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: Distributions whose module has another name.
MODULES = {
    "pyyaml": ("yaml",), "scikit-learn": ("sklearn",), "phiflow": ("phi",),
    "pillow": ("PIL",), "pydantic": ("pydantic", "pydantic_core"),
}  # fmt: skip


def imported(folder: Path) -> set[str]:
    """The top-level modules that any statement below a folder imports."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found


def test_everything_that_is_imported_is_declared_and_the_other_way_round() -> None:
    names = [re.split(r"[\[<>=;]", text)[0].lower() for text in PROJECT["project"]["dependencies"]]
    declared = {module for name in names for module in MODULES.get(name, (name,))}
    used = imported(ROOT / "pipeline") | imported(ROOT / "stages")
    used -= sys.stdlib_module_names | {"equigrid"}
    # medmnist's table of sets is read without importing the package, which needs torchvision.
    assert used | {"medmnist"} == declared


def test_every_package_is_in_the_wheel() -> None:
    folders = {
        path.parent for name in ("pipeline", "stages") for path in (ROOT / name).rglob("*.py")
    }
    setuptools = PROJECT["tool"]["setuptools"]
    names = {folder: package for package, folder in setuptools["package-dir"].items()}
    packages = {
        ".".join([names[top], *below])
        for top, *below in (folder.relative_to(ROOT).parts for folder in folders)
    }
    assert packages | {"equigrid.search_spaces"} == set(setuptools["packages"])


def test_the_modules_without_ray_and_mlflow_are_all_but_those_that_need_them() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = [it for it in contracts if it["type"] == "forbidden"]
    there = {
        f"equigrid.{path.stem}"
        for path in (ROOT / "pipeline").iterdir()
        if path.stem not in ("__init__", "__pycache__") and path.suffix in ("", ".py")
    }
    needing = {
        f"equigrid.{name}"
        for name in (
            "cli", "commands", "orchestration", "reporting", "exchange", "planning", "testing",
            "tracking", "notebook", "external_runs", "starter",
        )
    }  # fmt: skip
    assert set(contract["source_modules"]) == there - needing


def test_the_public_module_is_light_and_whole() -> None:
    """`import equigrid` loads none of what it stands on; each of its names is there when asked."""
    code = (
        "import sys, os; before = set(sys.modules), dict(os.environ), list(sys.path)\n"
        "import equigrid\n"
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy and before[1:] == (dict(os.environ), sys.path), heavy\n"
        "assert set(equigrid._MODULES) | {'testing'} == set(equigrid.__all__)\n"
        "print(*(getattr(equigrid, name).__module__ for name in equigrid._MODULES))\n"
        "print(equigrid.testing.__name__)\n"
        "assert before[1:] == (dict(os.environ), sys.path)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules, testing = done.stdout.splitlines()
    assert testing == "equigrid.testing"
    assert all(it.startswith("equigrid.") for it in modules.split())
