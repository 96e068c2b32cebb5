"""Errors in a user's own code: their own line is said, one dataset's failure stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import spaces

OWN = """\
from equigrid.datasets.ddmnist import DDMNIST
from equigrid.models.small_cnn import SmallCNN
import helper


class Broken(DDMNIST):
    def build(self, raw, progress):
        return helper.arrays(super().build(raw, progress))


class Network(SmallCNN):
    def encode(self, x):
        return helper.encoded(super().encode(x))
"""
HELPER = """\
def arrays(made):
    return made[0]


def encoded(latent):
    return latent
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two datasets, the builder of the second one's own; and a network of one's own."""
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "helper.py").write_text(HELPER)
    content = spaces.space()
    content["datasets"] = {"D1": spaces.DATASET, "mine": spaces.DATASET | {"builder": "own:Broken"}}
    content["columns"] = {
        "packaged": {"dataset": "D1", "split": "test", "metric": "accuracy"},
        "own": {"dataset": "mine", "split": "test", "metric": "accuracy"},
    }
    network = {"own:Network": {"width": 4, "latent": 8}}
    content["rows"]["CNN"]["model"] = network
    content["seeds"] = {"grid": [0], "final": [0]}
    spaces.write(tmp_path / "two.yaml", content)
    return tmp_path


def test_a_dataset_that_fails_to_build_is_a_gap_until_its_code_is_mended(folder: Path) -> None:
    run = ("run", "two.yaml", "--in-process")
    done = spaces.in_this_process(*run, folder=folder, expect=3)
    reason = "own:Broken: KeyError: 0 (own.py:8: return helper.arrays(super().build(raw, progress))"
    assert f"gap: mine: {reason} > helper.py:2: return made[0])" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    for command in ("status", "tables"):
        said = spaces.in_this_process(command, "two.yaml", folder=folder, expect=3)
        assert f"gap: mine: {reason}" in said.stdout
        assert "missing" not in said.stdout
    table = (folder / "workspace" / "tables" / "two" / "table.md").read_text()
    assert "– not built" in table
    assert f"No mine, not built: {reason}" in table.replace("\\", "")
    (folder / "helper.py").write_text(HELPER.replace("made[0]", "made"))
    # It may be built now: until a run has tried, its trials are missing.
    status = spaces.in_this_process("status", "two.yaml", folder=folder, expect=3)
    assert "gap:" not in status.stdout
    assert "trials missing" in status.stdout
    spaces.in_this_process(*run, folder=folder)
    (folder / "helper.py").write_text(HELPER)  # built once, by this code's other version
    said = spaces.in_this_process("status", "two.yaml", folder=folder, expect=3)
    assert "trials missing" in said.stdout


def test_a_failing_network_is_given_up_with_its_own_lines(folder: Path) -> None:
    """Also where it fails for the one input alone by which its latent is looked at."""
    raises = "return latent if len(latent) > 1 else int('odd')"
    broken = HELPER.replace("made[0]", "made").replace("return latent", raises)
    (folder / "helper.py").write_text(broken)
    done = spaces.in_this_process("run", "two.yaml", "--in-process", folder=folder, expect=3)
    assert "int() with base 10: 'odd' (own.py:13: return helper.encoded(super().encode(x)) > " in (
        done.stdout
    )
    assert f"helper.py:6: {raises})" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


WIDE = """\
from equigrid.models.small_cnn import SmallCNN


class Wide(SmallCNN):
    def encode(self, x):
        return super().encode(x){mistake}


class Late(SmallCNN):
    def encode(self, x):
        if not self.training and len(x) > 1:
            raise TypeError("not in evaluation")
        return super().encode(x)
"""


@pytest.mark.parametrize(
    "options", [("--in-process",), pytest.param((), marks=pytest.mark.cluster)]
)
def test_a_mistake_costs_a_batch_not_a_grid(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Of one row before its grid, of another (in evaluation) twice; the third is trained.

    With Ray those that wait for a place already have begun.
    """
    own = tmp_path / "wide.py"
    own.write_text(WIDE.format(mistake=" @ x"))
    content = spaces.space(seeds={"grid": [0], "final": [0]}, retries=3)
    rates = {"lr": [0.001, 0.002, 0.003, 0.004, 0.005, 0.006]}
    model = {"width": 4, "latent": 8}
    for name in ("Wide", "Late"):
        row = {"model": {f"wide:{name}": model}, "objective": "augmented", "grid": rates}
        content["rows"][name] = row
    spaces.write(tmp_path / "wide.yaml", content)
    run = ("run", "wide.yaml", *options)
    done = spaces.forked(*run, folder=tmp_path, expect=3)
    lines = done.stdout.splitlines()
    assert "trying again" not in done.stdout
    ended = [line for line in lines if "/16  " in line]
    failed = [line for line in ended if "  failed  " in line]
    assert sum("Wide / D1" in line for line in failed) == 1
    late = sum("Late / D1" in line for line in failed)
    assert late == 2 if options == ("--in-process",) else 2 <= late < 6
    assert "  failed  on its first batch: RuntimeError: " in failed[0]
    assert "(wide.py:6: return super().encode(x) @ x)" in failed[0]
    assert sum("  finished  " in line for line in ended) == 4
    assert "waiting: Wide / D1: 5 trials that would fail alike" in lines
    assert f"waiting: Late / D1: {6 - late} trials that would fail alike" in lines
    (said,) = (line for line in lines if line.startswith(f"failed: {late} × Late / D1"))
    assert " and alike: TypeError: not in evaluation (" in said
    assert "wide.py:12: raise" in said
    # It stays so, and nothing is tried; with the mistake mended all of it runs.
    done = spaces.forked(*run, folder=tmp_path, expect=3)
    assert f"✓ grid           4/16 finished, 0 run now, {late + 1} failed" in done.stdout
    assert "waiting: Wide / D1: 5 trials" in (
        spaces.in_this_process("status", "wide.yaml", folder=tmp_path, expect=3).stdout
    )
    own.write_text(WIDE.format(mistake="").replace("if not", "if False and not"))
    assert "16/16 finished, 12 run now" in spaces.forked(*run, folder=tmp_path).stdout


def test_where_every_row_fails_nothing_is_trained_and_no_tick_is_shown(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(WIDE.format(mistake=" @ x"))
    content = spaces.space()
    row = {"model": "wide:Wide", "objective": "augmented", "grid": {"lr": [0.01, 0.02]}}
    spaces.write(tmp_path / "wide.yaml", content | {"rows": {"Wide": row}})
    run = ("run", "wide.yaml", "--in-process")
    done = spaces.in_this_process(*run, folder=tmp_path, expect=3)
    assert "✗ grid           0/2 finished, 0 run now, 1 failed" in done.stdout
    # Asked for, it is tried again, and all of it.
    done = spaces.in_this_process(*run, "--retry-failed", folder=tmp_path, expect=3)
    assert "0/2 finished, 1 run now, 2 failed" in done.stdout
    assert "waiting" not in done.stdout


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("own.py", "import helper", "import helper (", "own.py:3"),
        ("own.py", "import helper", "import nowhere", "No module named 'nowhere' (own.py:3: "),
        ("helper.py", "def arrays", "1 / 0\ndef arrays", "division by zero (own.py:3: import"),
        ("own.py", "    def build", "    train_size = '9'\n    def build", "train_size is '9'"),
        ("own.py", "    def build", "    train_size = property(lambda s: 1 / 0)\n    def build",
         "division by zero (own.py:7: "),
        ("own.py", "    def build", "    Parameters = {}\n    def build", "is not a Builder"),
        ("own.py", "class Broken", "def Broken(): ...\nclass Other", "is not a Builder"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(
    folder: Path, file: str, old: str, new: str, says: str
) -> None:
    path = folder / file
    path.write_text(path.read_text().replace(old, new, 1))
    for command in ("plan", "status", "run"):
        done = spaces.in_this_process(command, "two.yaml", folder=folder, expect=2)
        assert says in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (folder / "workspace").exists()


def test_a_report_says_what_of_a_dataset_it_cannot_show(folder: Path) -> None:
    """Its pictures are the user's code too."""
    (folder / "helper.py").write_text(HELPER.replace("made[0]", "made"))
    pictures = (
        "\n    def resident(self, arrays, device):\n        return Shown(self, arrays, device)\n"
    )
    own = OWN.replace(
        "class Network",
        "class Shown(ResidentDDMNIST):\n    def pictures("
        "self, inputs, like=None):\n        return inputs.wrong\n\n\nclass Network",
    )
    own = own.replace("progress))\n", f"progress))\n{pictures}", 1)
    own = "from equigrid.datasets.ddmnist.resident import ResidentDDMNIST\n" + own
    (folder / "own.py").write_text(own)
    spaces.in_this_process("run", "two.yaml", "--in-process", folder=folder, drawn=True)
    page = (folder / "workspace" / "reports" / "two" / "index.html").read_text()
    assert "mine: its inputs are not shown: own:Broken: AttributeError" in page
