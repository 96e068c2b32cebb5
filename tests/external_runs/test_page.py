"""The page about one's own runs works as it stands: its script, its files, its commands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import spaces
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "your-runs.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "tracked_runs"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example's sweep has run."""
    folder = tmp_path_factory.mktemp("swept")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    environ = spaces.environment(MLFLOW_TRACKING_URI="sqlite:///mlflow.db", OMP_NUM_THREADS="1")
    done = subprocess.run([sys.executable, "sweep.py"], cwd=folder, env=environ,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_the_pages_search_space_and_its_commands(swept: Path) -> None:
    (page,) = (yaml.safe_load(it) for it in re.findall(r"```yaml\n(.*?)```", TEXT, re.S))
    known = yaml.safe_load((swept / "sweep.yaml").read_text())
    assert {name: it for name, it in page.items() if name != "published"} == known
    (swept / "sweep.yaml").write_text(yaml.safe_dump(page, sort_keys=False))
    commands = re.findall(r"^equigrid ((?:tables|status|show|report|verify) .*?)(?:  +#.*)?$",
                          TEXT, re.M)  # fmt: skip
    assert len(commands) == 5
    for command in commands:
        words = [it.strip('"') for it in re.findall(r'"[^"]*"|\S+', command)]
        spaces.in_this_process(*words, folder=swept)
    tex = (swept / "workspace" / "tables" / "sweep" / "table.tex").read_text()
    assert re.search(r"MLP & \$(\\mathbf\{|\\underline\{)?0\.9\d+ \\pm", tex)


def test_the_draft_needs_two_words_of_ones_own(swept: Path) -> None:
    spaces.in_this_process("draft", "sweep", "--store", "sqlite:///mlflow.db", "-o", "mine.yaml",
                           folder=swept)  # fmt: skip
    path = swept / "mine.yaml"
    text = path.read_text()
    text = text.replace("metric: CHOOSE", "metric: test_acc")
    path.write_text(text.replace("higher_is_better: CHOOSE", "higher_is_better: true"))
    done = spaces.in_this_process("tables", "mine.yaml", folder=swept)
    assert "Of 36 runs: 12 in a cell, 24 in the selection alone" in done.stdout


def test_the_pages_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs.csv").write_text(
        "model,lr,seed,val,test\n"
        + "".join(f"a,0.1,{s},0.5,0.6\na,0.2,{s},0.4,0.9\n" for s in "01")
    )
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(code.replace('"runs.csv"', repr(str(tmp_path / "runs.csv"))), {})
    assert "| a | 0.600 (0.000), n=2 |" in capsys.readouterr().out


def test_published_figures_and_a_reference_in_a_search_space_that_trains(tmp_path: Path) -> None:
    space = spaces.space(
        published={"Ours": {"plain": ["0.500", 0.02, 5]}, "CNN": {"augmented": 0.9}},
        reference="CNN",
    )
    spaces.write(tmp_path / "s.yaml", space)
    done = spaces.in_this_process("run", "s.yaml", "--in-process", folder=tmp_path)
    assert "0.500 (0.020)" in done.stdout
    assert "Published figures: as the search space gives them." in done.stdout
    table = (tmp_path / "workspace" / "tables" / "s" / "comparisons.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [["Ours", "CNN"]] * 2
    for wrong, words in (
        ({"published": {"Theirs": {"plain": 1}}}, "published.Theirs: no row 'Theirs'"),
        ({"published": {"Ours": {"best": 1}}}, "published.Ours.best: no column 'best'"),
        ({"published": {"Ours": {"plain": "high"}}}, "published.Ours.plain: 'high'"),
        ({"published": ["table4"]}, "published: ['table4']: expected a mapping"),
        ({"reference": "Theirs"}, "reference: no row 'Theirs'"),
    ):
        spaces.write(tmp_path / "s.yaml", spaces.space(**wrong))
        said = spaces.in_this_process("plan", "s.yaml", folder=tmp_path, expect=2).stderr
        assert words in said
