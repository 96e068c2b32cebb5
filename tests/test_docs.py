"""The documents say what is so: links lead somewhere, and the worked example works."""

import csv
import doctest
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import spaces
import torch
import yaml
from typer.main import get_command

import equigrid
from equigrid.cli import app
from equigrid.config.experiment import load_experiment

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("update", ROOT / "results" / "update.py")
update = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(update)
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/*.md"),
        *ROOT.glob("docker/*.md"),
        *ROOT.glob("results/*.md"),
    ]
)


FILES_OF_EXTENDING = ("shapes", "perceptron", "consistency", "test_mine")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_the_example_of_extending_goes_through_all_five_stages(tmp_path):
    """One file outside the package: a dataset and a group, and a table with two columns."""
    text = (ROOT / "docs" / "extending.md").read_text()
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    code = re.findall(r"```python\n(.*?)```", text, re.S)
    _, space, more = (yaml.safe_load(it) for it in re.findall(r"```yaml\n(.*?)```", text, re.S))
    for name, content in zip(FILES_OF_EXTENDING, code, strict=True):
        (folder / f"{name}.py").write_text(content)
    space["rows"] |= more["rows"]
    spaces.write(folder / "shapes.yaml", space)
    command = [spaces.EXECUTABLE, "run", str(folder / "shapes.yaml")]
    ended = subprocess.run(
        [*command, "--in-process"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with (elsewhere / "workspace" / "tables" / "shapes" / "table.csv").open() as file:
        means = {
            (cell["row"], cell["column"]): float(cell["mean"]) for cell in csv.DictReader(file)
        }
    assert means["Ours", "rotated"] > 0.7 > means["Chance", "rotated"]
    assert means["Ours", "upright"] > 0.7
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_mine.py"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert "13 passed, 1 skipped" in tested.stdout
    # A dense network of a few epochs: it learns, which is all that is asked of it here.
    for row in ("Perceptron", "Consistent"):
        assert means[row, "upright"] > means["Chance", "upright"] + 0.05


def test_the_readmes_own_table_has_its_rows_and_columns(tmp_path):
    """Of a single epoch here: the figures are those of the whole."""
    text = (ROOT / "README.md").read_text()
    (space,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    short = space.replace("epochs: 12", "epochs: 1").replace("[0, 1, 2, 3, 4]", "[0, 1]")
    (tmp_path / "digits.yaml").write_text(short)
    done = spaces.in_this_process("run", "digits.yaml", "--in-process", folder=tmp_path)
    (shown,) = re.findall(r"\$ equigrid run digits.yaml +# 16 trainings.*?\n(.*?)```", text, re.S)
    of_figures = re.compile(r"[┏┳━┓┡╇╩┩└┴─┘]+|\d\.\d{3} \(\d\.\d{3}\), n=\d")

    def words(table):
        return [of_figures.sub(" ", line).split() for line in table.splitlines()[:6]]

    begin = done.stdout.index("┏━")
    assert words(shown)[1:5] == words(done.stdout[begin:])[1:5]


def commands_of_documents():
    for document in DOCUMENTS:
        for block in re.findall(r"```\w*\n(.*?)```", document.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:\$ )?(?:\.venv/bin/)?equigrid (\w.*)", line):
                    name = f"{document.relative_to(ROOT)}: {found[1]}"
                    yield pytest.param(found[1], id=name[:100])


@pytest.mark.parametrize("line", list(commands_of_documents()))
def test_a_command_that_the_documents_show_is_one(line):
    """Its options and arguments are read; nothing is run."""
    words = shlex.split(
        line.partition("  #")[0].partition(" | ")[0].partition(" >")[0], comments=True
    )
    group = get_command(app)
    with group.make_context("equigrid", [words[0], "--help"], resilient_parsing=True) as context:
        name, command, _ = group.resolve_command(context, words)
        command.make_context(name, words[1:], parent=context)


def test_another_set_of_medmnist_is_a_change_to_a_search_space_only(tmp_path):
    """The example is planned as it stands, and read as medmnist describes the set."""
    text = (ROOT / "docs" / "extending.md").read_text()
    path = tmp_path / "vessel.yaml"
    path.write_text(re.findall(r"```yaml\n(.*?)```", text, re.S)[0])
    experiment = load_experiment(str(path))
    builder = experiment.datasets["vessel"].builder
    assert (builder.outputs, builder.train_size) == (2, 1335)
    planned = spaces.in_this_process("plan", path, folder=tmp_path)
    assert "6 cells, 2 grid and 7 final trials" in planned.stdout
    # In table 5 it is one more line, and one more column.
    table5 = (ROOT / "search_spaces" / "medmnist3d.yaml").read_text()
    (line,) = re.findall(r"^  vessel: .builder.*$", path.read_text(), re.M)
    (column,) = re.findall(r"^  vessel: .dataset.*$", path.read_text(), re.M)
    table5 = table5.replace("datasets:\n", f"datasets:\n{line}\n", 1)
    path.write_text(table5.replace("columns:\n", f"columns:\n{column}\n", 1))
    assert "vessel" in load_experiment(str(path)).space.columns


def test_the_example_that_is_not_images_learns_through_all_five_stages(tmp_path):
    """Signals under shifts: a dataset, a model and an objective of one's own."""
    for path in (ROOT / "examples" / "signals").glob("signals.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    done = spaces.forked("run", "signals.yaml", "--in-process", folder=tmp_path)
    for stage in ("data build", "augment cache", "grid", "final runs", "tables"):
        assert f"✓ {stage}" in done.stdout
    workspace = tmp_path / "workspace"
    with (workspace / "tables" / "signals" / "table.csv").open() as file:
        cells = {(cell["row"], cell["column"]): cell for cell in csv.DictReader(file)}
    chance = float(cells["Chance", "shifted"]["mean"])
    for row in ("CNN (augmented)", "Ours", "One-sided"):
        assert float(cells[row, "shifted"]["mean"]) > chance + 0.2
    errors = {}
    for path in (workspace / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["trial"]["role"] == "final" and record["history"]:
            name = record["trial"]["objective"]["name"]
            errors.setdefault(name, []).append(record["validation"]["val_equivariance_error"])
    assert max(errors["signals:OneSided"]) < min(errors["augmented"]) / 2
    assert max(errors["regular_representation"]) < min(errors["augmented"]) / 2


@pytest.mark.parametrize("name", update.names())
def test_a_bundle_gives_the_table_that_the_results_show(name):
    """Whoever doubts a figure has the records it was made of."""

    def run(folder, *arguments):
        return spaces.in_this_process(*arguments, folder=folder, expect=None).returncode

    text, lines = update.table(name, run)
    assert (update.HERE / f"{name}.md").read_text("utf-8") == text
    page = update.PAGE.read_text("utf-8")
    assert update.replaced(page, name, lines) == page


@pytest.fixture(scope="module")
def in_quickstart(tmp_path_factory):
    """A folder with a smaller search space of the quickstart's name, which lies nearer, run."""
    folder = tmp_path_factory.mktemp("python")
    columns = {
        "C4": {"dataset": "D1", "split": "test_augmented", "metric": "accuracy"},
        "plain": {"dataset": "D1", "split": "test", "metric": "accuracy"},
    }
    spaces.write(folder / "search_spaces" / "quickstart.yaml", spaces.space(columns=columns))
    spaces.in_this_process("run", "quickstart", "--in-process", folder=folder)
    return folder


@pytest.mark.parametrize("name", [it for it in equigrid.__all__ if it != "testing"])
def test_the_example_of_a_public_name_runs(in_quickstart, name, monkeypatch):
    monkeypatch.chdir(in_quickstart)
    text = inspect.getdoc(getattr(equigrid, name))
    flags = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL
    found = doctest.DocTestParser().get_doctest(text, {"torch": torch}, name, None, None)
    assert found.examples, f"{name} has no example"
    told = []
    result = doctest.DocTestRunner(optionflags=flags).run(found, out=told.append)
    assert not result.failed, "".join(told)


def test_the_page_for_python_runs_as_it_stands(in_quickstart):
    text = (ROOT / "docs" / "python.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=in_quickstart, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
    assert "torch.Size([3, 8])" in done.stdout
    assert "Traceback" not in done.stderr
