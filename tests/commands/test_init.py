"""The way in: `init` writes what runs, `list` says what there is, and mistakes are one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import spaces

from equigrid.config.catalogue import KINDS, catalogue, markdown
from equigrid.registry import DATASETS, METRICS, MODELS, OBJECTIVES

ROOT = Path(__file__).parents[2]


def test_what_init_writes_passes_its_tests_and_runs_and_is_found_by_its_name(
    tmp_path: Path,
) -> None:
    said = spaces.in_this_process("init", "mine", folder=tmp_path).stdout
    folder = tmp_path / "mine"
    assert "equigrid run mine.yaml" in said
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_parts.py"], cwd=folder, capture_output=True,
        text=True, check=False, env=dict(os.environ), timeout=300,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"1[0-9] passed, 1 skipped", tested.stdout)
    done = spaces.in_this_process("run", "mine.yaml", "--in-process", folder=folder)
    for row in ("Chance", "Baseline", "Ours", "Mine"):
        assert re.search(rf"│ {row} +│.*n=[13] │", done.stdout), done.stdout
    # From elsewhere, by its name.
    named = ("status", "mine", "--workspace", folder / "workspace")
    assert "complete" in spaces.in_this_process(*named, folder=tmp_path).stdout
    again = spaces.in_this_process("init", "mine", folder=tmp_path, expect=2)
    assert again.stderr == "equigrid: mine: is there already, and not empty\n"


@pytest.mark.parametrize(
    ("shape", "group", "model"),
    [((8, 8), "C4", "small_cnn"), ((3, 6, 8), "C2", "small_cnn"),
     ((14, 14, 14), "octahedral", "resnet3d")],
)  # fmt: skip
def test_a_file_of_arrays_needs_no_python(
    tmp_path: Path, shape: tuple[int, ...], group: str, model: str
) -> None:
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 256, (60, *shape)).astype(np.uint8)
    np.savez(tmp_path / "scans.npz", images=images, targets=labels)
    spaces.in_this_process("init", "own", "--arrays", "scans.npz", folder=tmp_path)
    text = (tmp_path / "own" / "own.yaml").read_text()
    assert f"group: {group}\n" in text
    assert f"model: {model}" in text
    short = text.replace("epochs: 30", "epochs: 1").replace("[0, 1, 2]", "[0]")
    short = re.sub(r"\[1e-3, 3e-3\]|\[0.5, 2\]", "[0.01]", short)
    (tmp_path / "own" / "own.yaml").write_text(short)
    done = spaces.in_this_process("run", "own.yaml", "--in-process", folder=tmp_path / "own")
    assert re.search(r"│ Ours +│.*n=1 │", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b/c d!",), "is not a search space's name"),
        (("own", "--arrays", "nothing.npz"), "nothing.npz: No such file or directory"),
        (("own", "--arrays", "text.npz"), "text.npz: begins with b'words', not an .npz file"),
        (("own", "--arrays", "flat.npz"), "flat.npz: inputs is [9, 4]; expected [n, channels, *g"),
        (("own", "--arrays", "odd.npz"), "odd.npz: no array called inputs, images, x"),
        (("own", "--arrays", "cube.npz"), "cube.npz: volumes of [6, 6, 6]; the packaged network"),
        (("own", "--arrays", "real.npz"), "real.npz: labels is float64; expected whole numbers"),
    ],
)
def test_what_init_cannot_use_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "text.npz").write_text("words")
    np.savez(tmp_path / "flat.npz", inputs=np.zeros((9, 4)), labels=np.zeros(9, int))
    np.savez(tmp_path / "odd.npz", a=np.zeros(3))
    np.savez(tmp_path / "real.npz", inputs=np.zeros((9, 4, 4)), labels=np.zeros(9))
    np.savez(tmp_path / "cube.npz", inputs=np.zeros((9, 6, 6, 6)), labels=np.zeros(9, int))
    before = sorted(tmp_path.rglob("*"))
    done = spaces.in_this_process("init", *arguments, folder=tmp_path, expect=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_reference_page_is_what_list_says() -> None:
    """`equigrid list --markdown >docs/reference.md` makes it anew."""
    assert (ROOT / "docs" / "reference.md").read_text() == markdown(list(KINDS)) + "\n"


def test_everything_that_can_be_named_has_its_line_and_every_setting_a_type() -> None:
    for kind, known in (
        ("datasets", DATASETS), ("models", MODELS), ("objectives", OBJECTIVES),
        ("metrics", METRICS),
    ):  # fmt: skip
        assert [entry.name for entry in catalogue(kind)] == list(known)
    for kind in KINDS:
        for entry in catalogue(kind):
            assert entry.what, f"{kind}: {entry.name}"
            for setting in entry.settings:
                assert "<class" not in setting.text
                assert "typing" not in setting.text
    settings = {entry.name: entry.what for entry in catalogue("training")}
    assert settings["patience"].startswith("whole number, default `20`. epochs without a strictly")


def test_list_shows_one_kind_with_its_settings_or_names_those_that_there_are(
    tmp_path: Path,
) -> None:
    said = spaces.in_this_process("list", "models", folder=tmp_path).stdout
    assert "small_cnn" in said
    assert "width" in said
    assert "ddmnist" in spaces.in_this_process("list", folder=tmp_path).stdout
    refused = spaces.in_this_process("list", "networks", folder=tmp_path, expect=2)
    assert "no kind 'networks'; there are: search-spaces, groups, datasets" in refused.stderr
