"""The documents say what is so: links lead somewhere, and the worked example works."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import spaces
import yaml

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


@pytest.mark.parametrize("name", [it for it in update.names() if it not in update.NEED_RAW_FILES])
def test_a_bundle_gives_the_table_that_the_results_show(name):
    """Whoever doubts a figure has the records it was made of."""

    def run(folder, *arguments):
        return spaces.in_this_process(*arguments, folder=folder, expect=None).returncode

    page = update.PAGE.read_text("utf-8")
    assert update.replaced(page, name, update.table(name, run)) == page


def test_the_page_for_python_runs_as_it_stands(tmp_path):
    """On a smaller search space of the quickstart's name, which lies nearer."""
    columns = {"C4": {"dataset": "D1", "split": "test_augmented", "metric": "accuracy"}}
    spaces.write(tmp_path / "search_spaces" / "quickstart.yaml", spaces.space(columns=columns))
    spaces.in_this_process("run", "quickstart", "--in-process", folder=tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.S))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "parameters" in done.stdout
    assert "torch.Size([3, 8])" in done.stdout
    assert "Traceback" not in done.stderr
