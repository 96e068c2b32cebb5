"""The built wheel: whole, and at work in a folder that knows nothing of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import spaces

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "pipeline": Path("equigrid"),
    "stages": Path("equigrid", "stages"),
    "search_spaces": Path("equigrid", "search_spaces"),
}
SOURCES = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: a build writes beside them."""
    copy, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(source, copy / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(built)]
    done = subprocess.run([*pip, *build, str(copy)], capture_output=True, text=True, check=False)
    if done.returncode and "setuptools" in done.stderr:
        # This environment has no setuptools: build in one of its own.
        build.remove("--no-build-isolation")
        build.remove("--no-index")
        done = subprocess.run(
            [*pip, *build, str(copy)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    (path,) = built.glob("equigrid-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install",
            "--no-deps", "--no-index", "--target", str(target), str(wheel),
        ],
        check=True,
    )  # fmt: skip
    return target


def run(installed: Path, folder: Path, code: str, *options: str) -> str:
    """Python with the installed copy alone: this checkout must not be importable.

    `-P` as for a console script: the working folder is not on the path.
    """
    # An editable install is a finder that `site` sets up; a copy on the path comes first, and
    # the test below looks where the modules really came from.
    environment = spaces.environment(PYTHONPATH=str(installed))
    done = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, env=environment, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def command(*arguments: object) -> str:
    """The console script's own entry point, and where its modules lie."""
    return (
        "import sys\n"
        "sys.meta_path[:] = [it for it in sys.meta_path if 'editable' not in str(it).lower()]\n"
        f"sys.argv = ['equigrid', *{list(map(str, arguments))!r}]\n"
        "from equigrid.cli import main\n"
        "try: main()\n"
        "except SystemExit as ending: code = ending.code or 0\n"
        "else: code = 0\n"
        "import equigrid.stages, equigrid.search_spaces as spaces\n"
        "print(*(it.__file__ for it in (equigrid, equigrid.stages, spaces)), sep='\\n')\n"
        "sys.exit(code)"
    )


def test_everything_comes_along_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(package / path.relative_to(ROOT / folder))
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".yaml", ".j2", ".js") or path.name == "py.typed"
    }
    assert wanted <= names
    packaged = {"equigrid/search_spaces/quickstart.yaml", "equigrid/reporting/published.yaml"}
    assert packaged <= names
    others = {name for name in names - wanted if ".dist-info/" not in name}
    assert others == set()
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(entry_points).decode()
    assert "equigrid = equigrid.cli:main" in text


def test_the_installed_copy_plans_the_quickstart(installed: Path, tmp_path: Path) -> None:
    output = run(installed, tmp_path, command("plan", "quickstart")).splitlines()
    assert any("Plan of quickstart" in line for line in output)
    assert any("trainings missing" in line for line in output)
    assert all(Path(line).is_relative_to(installed) for line in output[-3:])
    assert os.listdir(tmp_path) == []


def test_the_installed_copy_runs_to_a_table(installed: Path, tmp_path: Path) -> None:
    content = spaces.space(published="table4")
    content["rows"] = {"Chance": {"model": "majority"}, "Ours": content["rows"]["Ours"]}
    content["columns"] = {"D1": {"dataset": "D1", "split": "test", "metric": "accuracy"}}
    content["seeds"] = {"final": [0]}
    spaces.write(tmp_path / "tiny.yaml", content)
    output = run(installed, tmp_path, command("run", "tiny.yaml", "--in-process")).splitlines()
    assert all(Path(line).is_relative_to(installed) for line in output[-3:])
    table = (tmp_path / "workspace" / "tables" / "tiny" / "table.md").read_text()
    # The published figures are in the package.
    assert "0.947 (0.004)" in table
    assert not list(installed.rglob("*.h5"))


NETWORK = """
from torch import nn

from {helper} import WIDTH


class Net(nn.Module):
    def __init__(self, input_shape, outputs):
        super().__init__()
        pixels = input_shape[0] * input_shape[1] * input_shape[2]
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(pixels, WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x):
        return self.head(self.encode(x))
"""
CODE = {
    "stages.py": NETWORK.format(helper="search_spaces"),
    "search_spaces.py": "WIDTH = 4\n",
    "pipeline/__init__.py": "",
    "pipeline/orchestration.py": "WIDTH = 5\n",
    "pipeline/nets.py": NETWORK.format(helper="pipeline.orchestration"),
    # Nothing imports these; Python and what equigrid needs have modules of these names.
    "statistics.py": "",
    "queue.py": "",
    "click.py": "",
}


def test_own_code_may_have_the_names_of_our_folders(installed: Path, tmp_path: Path) -> None:
    """Beside a search space and in the working folder; on Ray and in this process; and an edit of
    a helper is seen, whatever it is called."""
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    row = {"objective": "augmented", "grid": {"lr": [0.01]}}
    rows = {name: row | {"model": f"{name}:Net"} for name in ("stages", "pipeline.nets")}
    rows = {name.replace(".", " "): it for name, it in rows.items()}
    spaces.write(tmp_path / "tiny.yaml", rows=rows, seeds={"final": [0]})
    planned = [command("plan", "tiny.yaml", "--workspace", where) for where in ("ray", "here")]
    for where, more in (("ray", ()), ("here", ("--in-process",))):
        output = run(
            installed, tmp_path, command("run", "tiny.yaml", "--workspace", where, *more), "-P"
        )
        assert "given up" not in output
        assert len(list((tmp_path / where / "records").rglob("*.json"))) == 2
    (tmp_path / "search_spaces.py").write_text("WIDTH = 6\n")
    for look in planned:
        assert "1 trainings missing" in run(installed, tmp_path, look, "-P")


def test_a_notebook_in_such_a_folder_opens_the_experiment(installed: Path, tmp_path: Path) -> None:
    """And a folder or package `search_spaces` of one's own hides no packaged one."""
    for name in ("pipeline", "stages", "search_spaces"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('of the user')")
    code = "from equigrid.notebook import open_experiment\n"
    code += "print(open_experiment('quickstart').table().n.sum())\n"
    code += "from equigrid.testing import ModelCase\n"
    assert float(run(installed, tmp_path, code)) == 0
