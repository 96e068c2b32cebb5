"""A control takes from its method what it does not say itself."""

from __future__ import annotations

import pytest
from example import replaced

from equigrid.config.experiment import load_experiment

CONTROLS = """\
  Scrambled: {control_of: Ours, objective: {regular_representation: {action: scrambled}}}
  Two views: {control_of: Ours, objective: two_views}
  Own grid:
    control_of: Ours
    objective: two_views
    grid: {lr: [0.02]}
    training: {batch_size: 32}
"""


@pytest.fixture
def load(tmp_path):
    def loaded(profile=None):
        text = replaced(
            "  Chance: {model: majority}\n", f"{CONTROLS}  Chance: {{model: majority}}\n"
        )
        text = text.replace("    grid:\n      lr", "    baseline: CNN\n    grid:\n      lr")
        text = text.replace(
            "      CNN: {grid", "      Ours: {model: {small_cnn: {width: 8}}}\n      CNN: {grid"
        )
        text = text.replace("D1xD1", "D2xD2")
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return load_experiment(str(path), profile)

    return loaded


def test_model_grids_and_training_are_the_methods(load):
    """But for what the control's objective does not search; and its baseline is the method's."""
    rows = load().rows
    ours, scrambled, two = rows["Ours"], rows["Scrambled"], rows["Two views"]
    assert dict(scrambled.grids) == dict(ours.grids)
    assert scrambled.objective == {**ours.objective, "action": "scrambled"}
    assert dict(two.grids) == {"C4": ({"lr": 0.001},), "D1": ({"lr": 0.001},)}
    for row in (scrambled, two):
        assert (row.model, row.training) == (ours.model, ours.training)
        assert (row.control_of, row.baseline) == ("Ours", "CNN")
    own = rows["Own grid"]
    assert own.grids["D1"] == ({"lr": 0.02},)
    assert own.training.batch_size == 32


def test_controls_stand_behind_their_method_and_follow_its_profile(load):
    assert list(load().rows) == ["Chance", "CNN", "Ours", "Scrambled", "Two views", "Own grid"]
    assert load("small").rows["Two views"].model["width"] == 8
