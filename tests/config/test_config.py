"""Search spaces: profiles, numbers, parts of a user's own, and the packaged ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from example import SPACE, replaced

from equigrid.config.experiment import load_experiment
from equigrid.config.yaml_lines import parse
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError
from equigrid.planning.plan import make_plan

ROOT = Path(__file__).parents[2]


def test_the_space_without_mistakes_loads(write):
    """Else the table of mistakes would show nothing."""
    experiment = load_experiment(str(write()))
    assert experiment.full_name == "space"
    assert experiment.rows["CNN"].grids["C4"] == ({"lr": 0.001}, {"lr": 0.003})
    assert experiment.rows["Ours"].grids == {
        "C4": ({"lr": 0.001, "lambda": 0.5}, {"lr": 0.001, "lambda": 2.0}),
        "D1": ({"lr": 0.001, "lambda": 1.0},),
    }
    assert dict(experiment.rows["CNN"].model) == {"name": "small_cnn", "width": 16, "latent": 64}
    assert experiment.seeds("Chance", "grid") == []
    assert experiment.seeds("Chance", "final") == [0]
    assert list(experiment.cells())[:2] == [("Chance", "C4"), ("Chance", "D1")]


def test_profiles_merge_maps_and_replace_lists(write):
    path = str(write())
    base, small, other = (load_experiment(path, name) for name in (None, "small", "other"))
    assert small.full_name == "space.small"
    assert (small.space.training.epochs, small.space.training.batch_size) == (1, 64)
    assert small.rows["CNN"].grids["C4"] == ({"lr": 0.01},)
    assert small.rows["Ours"].grids == base.rows["Ours"].grids
    assert (small.rows["Ours"].training, base.rows["Ours"].training) == (
        small.space.training, base.space.training,
    )  # fmt: skip
    assert (other.space.seeds.final, other.space.seeds.grid) == ([7], [0])
    assert other.space.training == base.space.training


def test_a_profile_takes_a_row_away_and_leaves_the_others(write):
    text = replaced("profiles:\n", "profiles:\n  fewer: {rows: {CNN: null}}\n")
    path = str(write(text))
    assert "CNN" in load_experiment(path).rows
    fewer = load_experiment(path, "fewer")
    assert list(fewer.rows) == [row for row in load_experiment(path).rows if row != "CNN"]


def test_a_row_trains_as_the_others_but_for_what_it_says(write):
    own = "    objective: augmented\n    training: {trend: {after: 3, window: 2}, batch_size: 7}\n"
    space = load_experiment(str(write(replaced("    objective: augmented\n", own))))
    common, training = space.space.training, space.rows["CNN"].training
    assert (training.batch_size, training.epochs) == (7, common.epochs)
    assert (training.patience, common.patience is None) == (None, False)
    assert training.trend is not None
    for row in ("CNN", "Ours"):
        trial = space.trial(row, "C4", {"lr": 1e-3, "lambda": 1.0}, 0, "final", {})
        assert trial.training == space.rows[row].training.settings()
    assert space.rows["Ours"].training == common


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E-4", 1e-4), ("5e3", 5e3), ("-2e+1", -20.0), ("1.5e-2", 0.015),
        ("1.e2", 100.0), ("0.1", 0.1), ("3", 3), ("'1e-4'", "1e-4"), ("1e", "1e"), ("e4", "e4"),
        ("1e-4x", "1e-4x"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_yaml_1_2_has_them(text, value):
    """PyYAML alone reads 1e-4 as a string."""
    found = parse(f"a: [{text}]\n", "test").value["a"][0]
    assert found == value
    assert type(found) is type(value)


def test_a_users_own_parts_are_found_beside_the_search_space(write, tmp_path):
    """`module:object` for a model, an objective and a group; their own words are believed."""
    (tmp_path / "own_parts.py").write_text(
        "from equigrid.symmetry import group_by_name\n"
        "group = group_by_name('C2xC2')\n"
        "def net(input_shape, outputs, *, depth=3, latent=32): ...\n"
        "class Loss:\n"
        "    searched, passes, needs_latent = ('lambda',), 3, True\n"
        "    def __init__(self, hyperparameters, *, sharp=1.0): ...\n"
        "    def __call__(self, model, batch, task): ...\n"
    )
    text = replaced("group: D1xD1", "group: own_parts:group")
    text = text.replace("model: small_cnn\n", "model: {own_parts:net: {depth: 4}}\n")
    path = write(text.replace("task_weights: paper", "task_weights: released"))
    experiment = load_experiment(str(path))
    assert experiment.datasets["D1"].builder.group.order == 4
    assert dict(experiment.rows["CNN"].model) == {"name": "own_parts:net", "depth": 4, "latent": 32}
    text = text.replace("objective: augmented", "objective: {own_parts:Loss: {sharp: 2}}")
    path = write(text)
    with pytest.raises(InputError, match="'lambda' is missing"):
        load_experiment(str(path))


@pytest.mark.parametrize("name", ["ddmnist", "quickstart"])
def test_the_packaged_search_spaces_load_in_every_profile(name, tmp_path, monkeypatch):
    """By name, from any folder."""
    monkeypatch.chdir(tmp_path)
    base = load_experiment(name)
    for profile in (None, *base.space.profiles):
        experiment = load_experiment(name, profile)
        assert experiment.name == name
        assert len(list(experiment.cells())) == len(base.rows) * len(base.space.columns)


#: Table 9 of the paper: dataset → (lr of the CNN, (lr, λ) of the method).
PUBLISHED_OPTIMA = {"C4": (5e-4, (1e-3, 2)), "D1": (1e-3, (1e-3, 1)), "D4": (5e-4, (5e-4, 1))}


def test_the_double_digit_grids_hold_every_published_optimum():
    """With neighbours on both sides; the profile `optimum` is those points and nothing else."""
    space, optimum = load_experiment("ddmnist"), load_experiment("ddmnist", "optimum")
    for dataset, (lr, (our_lr, strength)) in PUBLISHED_OPTIMA.items():
        for row, point in (("CNN", {"lr": lr}), ("Ours", {"lr": our_lr, "lambda": strength})):
            grid = space.rows[row].grids[dataset]
            assert point in grid
            for name, value in point.items():
                values = [each[name] for each in grid]
                assert min(values) < value < max(values)
            assert optimum.rows[row].grids[dataset] == (point,)
    assert optimum.is_published_setting
    assert space.is_published_setting
    assert not load_experiment("ddmnist", "small").is_published_setting
    assert len(space.rows["CNN"].grids["C4"]) == 4
    assert len(space.rows["Ours"].grids["C4"]) == 20


def test_a_space_in_the_working_folder_comes_before_a_packaged_one(tmp_path, monkeypatch):
    """A path, then ./search_spaces, then the packaged ones."""
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "quickstart.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    assert load_experiment("quickstart").space.title == "Test"
    assert load_experiment("ddmnist").space.title == "DDMNIST"
    assert load_experiment("search_spaces/quickstart.yaml").space.title == "Test"
    with pytest.raises(InputError, match="no such file"):
        load_experiment("quickstart.yaml")


def test_checking_a_search_space_imports_neither_torch_nor_the_trackers():
    """So that `plan` and `--help` are quick."""
    code = (
        "import sys; from equigrid.config.experiment import load_experiment\n"
        "load_experiment('ddmnist')\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'sklearn') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.strip() == "[]"


def test_how_a_table_shows_its_numbers_is_in_no_run_key(tmp_path: Path) -> None:
    def keys(more: str) -> set[str]:
        path = tmp_path / "space.yaml"
        path.write_text(SPACE + more)
        experiment = load_experiment(str(path))
        recipes = {name: it.recipe(RawStore()) for name, it in experiment.datasets.items()}
        plan = make_plan(experiment, recipes, {}, {}, {})
        return {trial.key for trial in plan.all_trials()}

    changed = "table: {digits: 2, percent: true, deviation: sample}\n"
    assert keys("") == keys(changed)
