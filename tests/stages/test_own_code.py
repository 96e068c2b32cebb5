"""The code of one's own parts decides what is trained: edited, it trains and builds anew."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spaces

from equigrid.errors import InputError
from equigrid.record import Record

GROUP = '''
"""The sign group."""
import numpy as np
from equigrid.symmetry import FiniteGroup


def sign():
    return FiniteGroup("sign", np.array([[0, 1], [1, 0]]), (1,), np.array([[[1.0]], [[-1.0]]]))
'''

DATA = '''
"""Noisy steps."""
import numpy as np
from equigrid.datasets.builder import Builder, Parameters, fixed_views, random_stream
from equigrid.datasets.resident import Dataset, on_device, read_views

HEIGHT = 0.5


class StepParameters(Parameters):
    samples: int = 40
    seed: int = 0


class Steps(Builder):
    test_splits = ("test",)
    Parameters = StepParameters

    @property
    def train_size(self):
        return self.parameters.samples

    def build(self, raw, progress):
        arrays = {}
        for split in ("train", "val", "test"):
            stream = random_stream(self.parameters.seed, split)
            labels = stream.integers(2, size=self.parameters.samples)
            signals = stream.normal(size=(len(labels), 1, 8)).astype(np.float32)
            signals[labels == 1, :, 4:] += HEIGHT
            arrays[f"{split}/signals"], arrays[f"{split}/labels"] = signals, labels
        return arrays

    def augment(self, base, progress):
        return fixed_views(self.parameters.seed, "val", self.parameters.samples, 2, 1)

    def resident(self, arrays, device):
        return ResidentSteps(self, arrays, device)


class ResidentSteps(Dataset):
    task, input_shape, outputs, draws = "classification", (1, 8), 2, 1
    sources = {"val": "val", "test": "test"}

    def __init__(self, builder, arrays, device):
        self.group = builder.group
        self.views = {"val": read_views(arrays, "val", device)}
        self.arrays = {name: on_device(arrays[name], device) for name in arrays}

    def size(self, source):
        return len(self.arrays[f"{source}/labels"])

    def targets(self, source, rows):
        return self.arrays[f"{source}/labels"][rows]

    def plain(self, source, rows):
        return self.arrays[f"{source}/signals"][rows]

    def view(self, source, rows, elements, draws):
        return self.plain(source, rows) * (1 - 2 * elements.float())[:, None, None]
'''

NET = '''
"""A network of two layers."""
from torch import nn
from layers import WIDTH


class Net(nn.Module):
    """Linear, and linear."""

    def __init__(self, input_shape, outputs, *, latent: int = 4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(8, WIDTH), nn.ELU(),
                                     nn.Dropout(0.2), nn.Linear(WIDTH, latent))
        self.classifier = nn.Linear(latent, outputs)

    def encode(self, x):
        return self.encoder(x)

    def head(self, z):
        return self.classifier(z)

    def forward(self, x):
        return self.head(self.encode(x))
'''

SPACE = """
datasets:
  steps: {builder: "data:Steps", group: "group:sign"}
columns:
  steps: {dataset: steps, split: test, metric: accuracy}
rows:
  Chance: {model: majority}
  Net: {model: "net:Net", objective: augmented, grid: {lr: [3e-3, 1e-2]}}
  Also: {model: {"net:Net": {latent: 6}}, objective: augmented, grid: {lr: [3e-3]}}
training: {epochs: 3, batch_size: 20, patience: 3}
seeds: {final: [0, 1]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in (("group", GROUP), ("data", DATA), ("net", NET), ("layers", "WIDTH = 8\n")):
        (folder / f"{name}.py").write_text(text)
    (folder / "steps.yaml").write_text(SPACE)
    return folder


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _run(folder: Path) -> int:
    """How many trainings there were, by the records that are new."""
    records = folder / "workspace" / "records"
    before = {path.name for path in records.glob("*")}
    spaces.in_this_process("run", "steps.yaml", "--in-process", folder=folder)
    return len({path.name for path in records.glob("*")} - before)


def _data_files(folder: Path) -> set[str]:
    below = folder / "workspace"
    return {path.name for name in ("data", "cache") for path in (below / name).glob("*.h5")}


#: Net: two grid points and one more seed of the best; Also: one, and one more; Chance: one.
TRAINED, TRIVIAL = 2 + 1 + 1 + 1, 1


def test_an_edit_trains_and_builds_exactly_what_depends_on_it(
    project: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it lies beside the search space or, as `layers`, in a folder on the path."""
    library = project.with_name("src")
    library.mkdir()
    layers = (project / "layers.py").rename(library / "layers.py")
    monkeypatch.syspath_prepend(str(library))
    assert _run(project) == TRAINED + TRIVIAL
    table, data = spaces.tables(project / "workspace", "steps"), _data_files(project)

    # A comment, a docstring, a layout: nothing.
    _edit(project / "net.py", "class Net", "# A remark.\nclass Net")
    _edit(project / "net.py", "Linear, and linear.", "Two layers.")
    _edit(project / "data.py", "HEIGHT = 0.5", "HEIGHT = (\n    0.5\n)")
    assert _run(project) == 0
    assert spaces.tables(project / "workspace", "steps") == table

    # What the network imports: the trainings, not the data, nor the row without the network.
    _edit(layers, "8", "9")
    planned = spaces.in_this_process("plan", "steps.yaml", folder=project).stdout
    assert f"code of net:Net changed: {TRAINED} trainings anew" in planned
    assert (_run(project), _data_files(project)) == (TRAINED, data)
    assert f"code of net:Net changed: {TRAINED} trainings anew" in caplog.text
    assert spaces.tables(project / "workspace", "steps") != table

    # One more seed averages trainings of one code only.
    _edit(project / "steps.yaml", "final: [0, 1]", "final: [0, 1, 2]")
    assert _run(project) == 2
    parameters = _parameters(project)
    assert parameters["Net"] == {8 * 9 + 9 + 9 * 4 + 4 + 4 * 2 + 2}

    # The group, then the data: built and trained anew.
    for file, old, new in (("group.py", '"sign"', '"signs"'), ("data.py", "0.5", "0.7")):
        _edit(project / file, old, new)
        before = _data_files(project)
        assert _run(project) == TRAINED + 2 + TRIVIAL
        assert len(_data_files(project) - before) == 1

    # Back to the first code: everything is there.
    shutil.rmtree(project / "workspace" / "data")
    for file, old, new in (
        (project / "group.py", '"signs"', '"sign"'), (project / "data.py", "0.7", "0.5"),
        (layers, "9", "8"), (project / "steps.yaml", "[0, 1, 2]", "[0, 1]"),
    ):  # fmt: skip
        _edit(file, old, new)
    assert _run(project) == 0
    assert spaces.tables(project / "workspace", "steps") == table
    assert "all match" in spaces.in_this_process("verify", "steps.yaml", folder=project).stdout


def _parameters(folder: Path) -> dict[str, set[int]]:
    """Of the finals in the table, by row."""
    with (folder / "workspace" / "tables" / "steps" / "table.csv").open() as file:
        return {line["row"]: {int(line["parameters"])} for line in csv.DictReader(file)}


def test_two_projects_in_one_workspace_stay_apart(project: Path, tmp_path: Path) -> None:
    """What their parts are named does not mix them; of one name of theirs the second is refused."""
    other = tmp_path / "other"
    shutil.copytree(project, other)
    _edit(other / "layers.py", "8", "5")
    shared = ("--workspace", str(tmp_path / "shared"))
    spaces.in_this_process("run", "steps.yaml", "--in-process", *shared, folder=project)
    table = spaces.tables(tmp_path / "shared", "steps")
    for command in ("run", "tables", "status"):
        refused = spaces.in_this_process(command, "steps.yaml", *shared, folder=other, expect=2)
        assert f"the name steps stands for {project / 'steps.yaml'}, whose table" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    (other / "steps.yaml").rename(other / "others.yaml")
    spaces.in_this_process("run", "others.yaml", "--in-process", *shared, folder=other)
    assert spaces.tables(tmp_path / "shared", "steps") == table
    count = len(list((tmp_path / "shared" / "records").iterdir()))
    assert count == 2 * TRAINED + TRIVIAL
    done = spaces.in_this_process("tables", "steps.yaml", *shared, folder=project)
    assert f"{8 * 8 + 8 + 8 * 4 + 4 + 4 * 2 + 2} " in done.stdout.replace("│", " ")


def test_code_is_shown_travels_and_is_replayed(project: Path, tmp_path: Path) -> None:
    _run(project)
    record = next(
        record
        for path in (project / "workspace" / "records").iterdir()
        if (record := Record.load(path)).trial.row == "Net" and record.test
    )
    net = record.trial.code["net:Net"]
    assert set(record.sources[net]) == {"net.py", "layers.py"}
    shown = spaces.in_this_process("show", "steps.yaml", record.key[:12], folder=project).stdout
    assert f"net:Net {net[:12]}" in shown
    assert f"{net[:12]} (layers.py, net.py)" in shown
    assert "search_space_commit" in shown

    # Elsewhere, without the files: the record has them, and they run when that is asked for.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bundle = project / "steps.equigrid"
    spaces.in_this_process("export", "steps.yaml", "-o", bundle, folder=project)
    spaces.in_this_process("import", bundle, folder=elsewhere)
    refused = spaces.in_this_process("replay", record.key[:12], folder=elsewhere, expect=2)
    assert "net:Net (here not found, recorded" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = spaces.in_this_process("replay", record.key[:12], "--recorded-code", folder=elsewhere)
    assert "bitwise equal" in done.stdout

    # Beside the search space, from any folder; and it says which code differs.
    workspace = ("--workspace", str(project / "workspace"))
    done = spaces.in_this_process("replay", record.key[:12], *workspace, folder=elsewhere)
    assert "bitwise equal" in done.stdout
    _edit(project / "layers.py", "8", "9")
    refused = spaces.in_this_process(
        "replay", record.key[:12], *workspace, folder=elsewhere, expect=2
    )
    assert "code differs from the record's: net:Net (here" in refused.stderr
    assert f"recorded {net[:12]}: layers.py)" in refused.stderr
    assert "data:Steps" not in refused.stderr


def test_a_record_whose_sources_are_not_its_code_is_refused(project: Path) -> None:
    _run(project)
    records = (project / "workspace" / "records").iterdir()
    text = next(it for path in records if '"net:Net"' in (it := path.read_text()))
    alterations: list[Callable[[Any], object]] = [
        lambda data: data["sources"].clear(),
        lambda data: next(iter(data["sources"].values())).update({"layers.py": "WIDTH = 1"}),
        lambda data: next(iter(data["sources"].values())).update({"../../evil.py": "0"}),
        lambda data: data["trial"]["code"].update({"net:Net": "0" * 64}),
        lambda data: data["trial"]["code"].clear(),
    ]
    Record.from_json(text, "sound")
    for alter in alterations:
        data = json.loads(text)
        alter(data)
        with pytest.raises(InputError, match="not a valid record"):
            Record.from_json(json.dumps(data), "altered")


def test_code_that_changes_under_a_run_trains_nothing_under_the_old_key(project: Path) -> None:
    """What the plan took the fingerprint of is what is trained, or the trial fails and says why."""
    (project / "layers.py").write_text(
        "import pathlib\nWIDTH = 8\n"
        "def touch():\n    pathlib.Path(__file__).write_text('WIDTH = 9\\ndef touch(): pass\\n')\n"
    )
    _edit(
        project / "data.py",
        "        return ResidentSteps",
        "        touch()\n        return ResidentSteps",
    )
    _edit(project / "data.py", "HEIGHT = 0.5", "from layers import touch\nHEIGHT = 0.5")
    done = spaces.in_this_process("run", "steps.yaml", "--in-process", folder=project, expect=3)
    assert "code of" in done.stdout
    assert "asked for" in done.stdout
    assert not (project / "workspace" / "records").exists()
