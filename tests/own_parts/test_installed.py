"""Parts of an installed package by the plain names that its entry points give them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import spaces

from equigrid.config.experiment import load_experiment
from equigrid.errors import InputError
from equigrid.own_parts import installed

NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self, input_shape, outputs, *, width: int = 4):
        super().__init__()
        pixels = input_shape[0] * input_shape[1] * input_shape[2]
        self.encode = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU())
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        return self.head(self.encode(x))


class Wrong:
    higher_is_better = False

    def __init__(self):
        self.seen = self.wrong = 0

    def update(self, outputs, targets):
        self.wrong += int((outputs.argmax(1) != targets).sum())
        self.seen += len(targets)

    def compute(self):
        return self.wrong / self.seen
"""
POINTS = "[equigrid.models]\nbeam = beam_nets:Net\n\n[equigrid.metrics]\nwrong = beam_nets:Wrong\n"


def _install(folder: Path, name: str, points: str = POINTS) -> None:
    about = folder / "site-packages" / f"{name.replace('-', '_')}-1.5.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (about / "top_level.txt").write_text("beam_nets\n")
    (about / "entry_points.txt").write_text(points)
    (folder / "site-packages" / "beam_nets.py").write_text(NETWORK)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    _install(tmp_path, "beam-nets")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.chdir(tmp_path)
    installed.installed_parts.cache_clear()
    yield tmp_path
    installed.installed_parts.cache_clear()


def _space(folder: Path, model: object) -> None:
    rows = {"Beam": {"model": model, "objective": "augmented", "grid": {"lr": [0.01]}}}
    columns = {"wrong": {"dataset": "D1", "split": "test", "metric": "wrong"}}
    spaces.write(folder / "tiny.yaml", rows=rows, columns=columns, seeds={"final": [0]})


def test_a_plain_name_runs_and_the_version_counts(folder: Path) -> None:
    _space(folder, {"beam": {"width": 6}})
    experiment = load_experiment("tiny.yaml")
    row = experiment.rows["Beam"]
    assert row.model == {"name": "beam_nets:Net", "width": 6}
    environ = {"PYTHONPATH": str(folder / "site-packages")}
    spaces.equigrid("run", "tiny.yaml", "--in-process", folder=folder, environ=environ)
    (record,) = (folder / "workspace" / "records").glob("*.json")
    content = json.loads(record.read_text())
    versions = [it for sources in content["sources"].values() for it in sources.values()]
    assert set(versions) == {"installed, version beam-nets 1.5"}
    assert 0 <= content["test"]["test"]["beam_nets:Wrong"] <= 1


def test_what_is_packaged_comes_first_and_two_offers_are_refused(folder: Path) -> None:
    _space(folder, "beam")
    load_experiment("tiny.yaml")
    _install(folder, "other", "[equigrid.models]\nbeam = beam_nets:Other\nsmall_cnn = a:B\n")
    installed.installed_parts.cache_clear()
    with pytest.raises(InputError, match=r"rows\.Beam\.model: 'beam' is offered by several inst"):
        load_experiment("tiny.yaml")
    _space(folder, "small_cnn")
    assert load_experiment("tiny.yaml").rows["Beam"].model["name"] == "small_cnn"
    _space(folder, "bean")
    with pytest.raises(InputError, match="unknown model 'bean'; allowed: beam, conv_autoencoder"):
        load_experiment("tiny.yaml")
