"""Tables of runs: the published ones counted, and a small experiment with its control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spaces

from equigrid.reporting.representations import Counts, compared, told
from equigrid.reporting.table import published_runs
from equigrid.symmetry import group_by_name


@pytest.mark.parametrize(
    ("table", "group", "at", "near", "ideal"),
    [
        ("table1", "C2", 3, 5, "21 × trivial, 21 × sign"),
        ("table2", "D3", 3, 4, "5 × trivial, 5 × sign, 10 × standard"),
        ("table3", "C4", 3, 4, "16 × 1, 16 × i, 16 × −1, 16 × −i"),
    ],
)
def test_published_runs_are_counted(table: str, group: str, at: int, near: int, ideal: str) -> None:
    runs = [(np.array(list(run.values())),) for run in published_runs(table)]
    said = told(group_by_name(group), runs)
    assert said == (
        f"{at} of 5 runs at a multiple of the regular representation ({ideal}), "
        f"{near} of 5 within 1 of it"
    )


ALGEBRA = {"relations": {"a^3 = e": 0.5, "b^2 = e": 0.5}, "start": "scaled_normal"}


def space() -> dict[str, Any]:
    column = {"dataset": "digits", "split": "test"}
    scores = {
        "trivial": "count_0", "sign": "count_1", "standard": "count_2", "on the data": "data_0",
        "algebra loss": "algebra_loss", "latent error": "latent_error",
    }  # fmt: skip
    return {
        "published": "table2",
        "layout": "runs",
        "datasets": {
            "digits": {"builder": "mnist", "group": "D3", "source": "digits", "train": 100,
                       "val": 20}
        },
        "columns": {name: {**column, "metric": score} for name, score in scores.items()},
        "rows": {
            "Learned": {
                "model": {"mlp_autoencoder": {"latent": 12}},
                "objective": {"learned_representation": ALGEBRA},
                "grid": {"lr": [0.003]},
            },
            "Alone": {
                "model": {"no_network": {"latent": 12}},
                "objective": {"algebra_alone": ALGEBRA},
                "grid": {"lr": [0.003]},
            },
        },
        "training": {"epochs": 2, "batch_size": 20, "patience": 2, "select": "val_loss"},
        "seeds": {"grid": [0], "final": [0, 1]},
    }  # fmt: skip


def test_a_network_and_its_control_stand_in_one_table(tmp_path: Path) -> None:
    spaces.write(tmp_path / "learned.yaml", space())
    done = spaces.in_this_process(
        "run", "learned.yaml", "--in-process", folder=tmp_path, drawn=True
    )
    assert "5/4 finished" not in done.stdout
    table = spaces.tables(tmp_path / "workspace", "learned")["table.md"].decode()
    for line in ("| Learned, seed 0 |", "| Learned, seed 1 |", "| Alone, seed 0 |",
                 "| Published, run 2 |  | 6.471 | 4.752 | 9.39 | – | – | – |"):  # fmt: skip
        assert line in table
    (alone,) = [line for line in table.splitlines() if line.startswith("| Alone |")]
    assert alone.endswith("| – |")  # nothing of a network is measured where there is none
    assert "Learned and Alone, from the same starts: the same counts in " in table
    assert "Published: 3 of 5 runs at a multiple of the regular representation" in table
    assert "lower is better" in table
    assert "count_0 (lower" not in table
    # In two epochs nothing has become a representation.
    assert "in 0 of the 0 seeds in which both ended" in table
    assert "Alone did not in seeds 0, 1: its counts, by the generators or by all" in table

    page = (tmp_path / "workspace" / "reports" / "learned" / "index.html").read_text()
    assert "How the learned action came to be" in page
    assert "data:image/gif;base64," in page
    assert "data:image/png;base64," in page
    verified = spaces.in_this_process("verify", "learned.yaml", folder=tmp_path)
    assert "all match" in verified.stdout
    again = spaces.in_this_process("tables", "learned.yaml", "--from-mlflow", folder=tmp_path)
    assert "written to" in again.stdout
    assert spaces.tables(tmp_path / "workspace", "learned")["table.md"].decode() == table


def test_a_difference_counts_only_where_both_became_representations() -> None:
    d3 = group_by_name("D3")
    by_seed = {0: [5.0, 5, 10], 1: [5.02, 7, 8.99], 2: [6, 6, 9]}
    network = Counts("N", "x", d3, {seed: np.array(it) for seed, it in by_seed.items()})
    stuck = {0: [5.0, 5, 10], 1: [5.624, 5.622, 9.377], 2: [6, 6, 9]}
    control = Counts("C", "x", d3, {seed: np.array(it) for seed, it in stuck.items()})
    said = compared(network, control)
    assert "the same counts in 2 of the 2 seeds in which both ended as representations" in said
    assert "C did not in seed 1: its counts, by the generators or by all elements, are no" in said
    assert "no evidence that the network prefers one" in said
    control.by_seed[2][:] = [5, 5, 10]  # type: ignore[index]
    assert "in 1 of the 2 seeds" in (said := compared(network, control))
    assert "In 1 the network ended elsewhere" in said


def test_counts_by_all_elements_must_be_whole_too() -> None:
    """The traces of the generators can be those of a representation where the rest is none."""
    d3 = group_by_name("D3")
    counts = {0: np.array([5.0, 5, 10]), 3: np.array([5.006, 4.971, 10.01])}
    inner = {0: np.array([5.013, 4.994, 9.996]), 3: np.array([6.249, 3.769, 9.991])}
    assert Counts("N", "x", d3, counts).ended == {0, 3}
    network = Counts("N", "x", d3, counts, inner)
    assert network.ended == {0}
    assert network.told().startswith("N / x: 1 of 2 runs at a multiple")


@pytest.mark.parametrize(
    ("relations", "said"),
    [
        ({"a^2 = e": 1}, "learned_representation: a² = e does not hold in D3"),
        ({"c = e": 1}, "'c' is no power of a, b, e"),
        ({"a^3 = e": -1}, "greater than or equal to 0"),
    ],
)
def test_relations_that_cannot_be_are_refused_before_any_work(
    relations: dict[str, float], said: str, tmp_path: Path
) -> None:
    content = space()
    content["rows"]["Learned"]["objective"] = {"learned_representation": {"relations": relations}}
    spaces.write(tmp_path / "learned.yaml", content)
    done = spaces.in_this_process("plan", "learned.yaml", folder=tmp_path, expect=2)
    (line,) = done.stderr.splitlines()
    assert "learned.yaml:" in line
    assert said in line


def test_what_latents_carry_is_analysed_kept_tracked_and_reported(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(spaces.undisturbed(tmp_path_factory), folder)
    done = spaces.in_this_process("analyse", "tiny.yaml", folder=folder)
    for row in ("CNN / D1", "Ours / D1"):
        assert row in done.stdout
    assert "20 for each latent would be 160" in done.stdout  # 20 test inputs are few
    kept = sorted((folder / "workspace" / "analyses").glob("*.json"))
    assert len(kept) == 2
    found = json.loads(kept[0].read_text())
    assert found["irreducibles"][0] == ["trivial ⊗ trivial", 1]
    assert set(found["networks"]) == {"trained", "untrained", "shuffled orbits"}
    artifacts = list((folder / "workspace" / "artifacts").rglob("analysis.json"))
    assert sorted(path.read_text() for path in artifacts) == sorted(p.read_text() for p in kept)
    page = (folder / "workspace" / "reports" / "tiny" / "index.html").read_text()
    assert "What the latent carries" in page
    one = spaces.in_this_process("analyse", "tiny.yaml", found["run"][:10], folder=folder)
    assert "held-out R²" in one.stdout
    wrong = spaces.in_this_process("analyse", "tiny.yaml", "Chance/plain", folder=folder, expect=2)
    assert "no finished network is here" in wrong.stderr


OWN = '''
"""An objective that measures more than the dataset's metrics."""

import torch

from equigrid.objectives.task import Augmented


class Measured(Augmented):
    scores = ("largest_latent",)

    def score(self, model, dataset, split):
        source = dataset.sources[split]
        rows = torch.arange(dataset.size(source))
        z, y = model.encode(dataset.plain(source, rows)), dataset.targets(source, rows)
        loss = torch.nn.functional.cross_entropy(model.head(z), y)
        found = float((model.head(z).argmax(1) == y).float().mean())
        return {"loss": float(loss), "accuracy": found, "largest_latent": float(z.abs().max())}
'''


def test_an_objective_from_outside_may_measure_scores_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "measured.py").write_text(OWN)
    content = spaces.space()
    content["columns"]["latents"] = {
        "dataset": "D1", "split": "test", "metric": "largest_latent",
    }  # fmt: skip
    content["rows"]["Mine"] = {
        "model": spaces.MODEL, "objective": "measured:Measured", "grid": {"lr": [0.003]},
    }  # fmt: skip
    del content["rows"]["Ours"]
    spaces.write(tmp_path / "tiny.yaml", content)
    spaces.in_this_process("run", "tiny.yaml", "--in-process", folder=tmp_path)
    table = spaces.tables(tmp_path / "workspace")["table.md"].decode().splitlines()
    mine = next(line for line in table if line.startswith("| Mine |"))
    other = next(line for line in table if line.startswith("| CNN |"))
    assert mine.endswith(", n=2 |")
    assert other.endswith("| – |")
