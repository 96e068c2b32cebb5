"""An action that is learned: exact ones are measured as such, and a control starts the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from equigrid.objectives.learned_action import KEPT, STARTS, LearnedAction
from equigrid.objectives.learned_representation import AlgebraAlone
from equigrid.record import Record, TrialFiles
from equigrid.symmetry import group_by_name, permutation_matrices, regular_representation
from equigrid.symmetry.characters import irreducibles
from equigrid.symmetry.words import parse_word, relations_of
from equigrid.testing.small import dataset_of, trial_of
from equigrid.training.run import TrialRun

GROUPS = ["C2", "C4", "D3", "C2xC2", "D4"]
TURNED = {"builder": "mnist", "group": "D3", "source": "digits", "train": 60, "val": 20}
ALGEBRA = {"relations": {"a^3 = e": 0.5, "b^2 = e": 0.5, "b a b a = e": 0.1}}
START = {"start": "scaled_normal"}


def exact(name: str, copies: int = 2) -> tuple[LearnedAction, torch.Tensor]:
    """The regular representation in a random basis, and all of its matrices."""
    group = group_by_name(name)
    matrices = permutation_matrices(regular_representation(group, copies * group.order))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=matrices.shape[1:]))[0]
    matrices = basis @ matrices @ basis.T
    action = LearnedAction(group, len(basis), "orthogonal").double()
    action.matrices.data = torch.from_numpy(matrices[list(group.generators)])
    return action, torch.from_numpy(matrices)


@pytest.mark.parametrize("name", GROUPS)
def test_of_an_exact_representation_everything_is_exact(name: str) -> None:
    action, matrices = exact(name)
    group = action.group
    torch.testing.assert_close(action.of_group(), matrices)
    elements = torch.arange(group.order).repeat(3)
    z = torch.randn(len(elements), matrices.shape[1], dtype=torch.float64)
    moved = action(elements, z)
    torch.testing.assert_close(moved, torch.einsum("bij,bj->bi", matrices[elements], z))
    assert float(action.departure(relations_of({}, group)).detach()) < 1e-24
    found = action.measure()
    for n, it in enumerate(irreducibles(group)):
        assert found[f"count_{n}"] == pytest.approx(2 * it.dimension)
        assert found[f"inner_{n}"] == pytest.approx(2 * it.dimension)
    assert found["regular_distance"] < 1e-9
    assert found["root_distance"] < 1e-9
    assert found["stuck"] == 0


def test_inverses_are_those_of_the_matrices() -> None:
    action = LearnedAction(group_by_name("D3"), 5, "normal").double()
    word = parse_word("a^-1 b a^2 b^-2", 2)
    a, b = action.matrices.detach()
    inverse = torch.linalg.inv
    expected = inverse(a) @ b @ a @ a @ inverse(b) @ inverse(b)
    torch.testing.assert_close(action.of_word(word).detach(), expected)


def test_counts_of_what_is_no_representation_yet() -> None:
    """By hand, of C4: eigenvalues go to their nearest root; one at 0.1 is stuck."""
    action = LearnedAction(group_by_name("C4"), 3, "normal").double()
    action.matrices.data = torch.diag(torch.tensor([1.2, -0.8, 0.1], dtype=torch.float64))[None]
    found = action.measure()
    assert [found[f"count_{n}"] for n in range(4)] == [2, 0, 1, 0]
    assert found["stuck"] == 1
    assert found["root_distance"] == pytest.approx(0.9)
    assert found["regular_distance"] == pytest.approx(2 - 0.75)


def test_the_algebra_loss_has_the_gradient_of_finite_differences() -> None:
    torch.manual_seed(0)
    action = LearnedAction(group_by_name("D3"), 4, "orthogonal").double()
    relations = relations_of({"a^3 = e": 0.5, "b = b^-1": 1, "b a b a = e": 0.1}, action.group)

    def loss(matrices: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(  # type: ignore[no-any-return]
            _Departure(action, relations), {"action.matrices": matrices}, ()
        )

    assert torch.autograd.gradcheck(loss, (action.matrices.detach().requires_grad_(),))


class _Departure(torch.nn.Module):
    def __init__(self, action: LearnedAction, relations: Any) -> None:
        super().__init__()
        self.action, self.relations = action, relations

    def forward(self) -> torch.Tensor:
        return self.action.departure(self.relations)


@pytest.mark.parametrize("start", STARTS)
def test_starts_are_what_they_are_called(start: str) -> None:
    torch.manual_seed(0)
    matrix = STARTS[start](60)
    identity = torch.eye(60)
    if start == "orthogonal":
        torch.testing.assert_close(matrix @ matrix.T, identity, atol=1e-5, rtol=0)
    elif start == "uniform":
        assert 0 <= matrix.min() < matrix.max() <= 1
    elif start == "near_identity":
        assert (matrix - identity).std() == pytest.approx(0.1 / 60**0.5, rel=0.1)
    else:
        std = {"normal": 1.0, "scaled_normal": 60**-0.5, "noisy_orthogonal": (1 / 60 + 0.09) ** 0.5}
        assert matrix.std() == pytest.approx(std[start], rel=0.1)


def trained(folder: Path, model: Any, objective: Any, epochs: int = 2) -> tuple[Record, Any]:
    trial = trial_of(model, objective, {"lr": 3e-3}, TURNED, epochs)
    run = TrialRun(trial, dataset_of(TURNED), "0" * 64, TrialFiles.below(folder), "cpu")
    while not run.done:
        run.run_epoch()
    record = run.finish()
    found = safetensors.torch.load((folder / "artifacts" / "action.safetensors").read_bytes())
    return record, found


NETWORK = {"mlp_autoencoder": {"latent": 12}}
LEARNED = {"learned_representation": {**ALGEBRA, **START}}


def test_the_control_starts_where_the_network_s_action_does(tmp_path: Path) -> None:
    learned, with_network = trained(tmp_path / "a", NETWORK, LEARNED)
    alone, without = trained(
        tmp_path / "b", {"no_network": {"latent": 12}}, {"algebra_alone": {**ALGEBRA, **START}}
    )
    assert torch.equal(with_network["start"], without["start"])
    assert not torch.equal(with_network["matrices"], without["matrices"])
    assert with_network["steps"].tolist() == without["steps"].tolist() == [0]
    assert with_network["eigenvalues"].shape == (1, 2, 12, 2)
    # And is its initial matrix: nothing was trained before the first snapshot.
    first = torch.view_as_complex(without["eigenvalues"][0].contiguous())
    torch.testing.assert_close(first.sum(1).real, torch.einsum("gii->g", without["start"]))
    assert (learned.objective_parameters, alone.objective_parameters) == (288, 288)
    assert alone.parameters == 0
    assert learned.test is not None
    assert {"latent_error", "output_loss", "count_0", "inner_2", "steps"} <= set(
        learned.test["test"]
    )
    assert "latent_error" not in (alone.test or {})["test"]
    assert learned.test["test"]["loss"] == pytest.approx(
        learned.test["test"]["task_loss"] + 0.25 * learned.test["test"]["output_loss"]
        + 0.25 * learned.test["test"]["latent_loss"] + learned.test["test"]["algebra_loss"]
    )  # fmt: skip


def test_its_pictures_can_be_opened(tmp_path: Path) -> None:
    record, _ = trained(tmp_path, NETWORK, LEARNED)
    assert set(record.artifacts) == {"action.safetensors", "eigenvalues.gif", "pairs.png"}
    folder = tmp_path / "artifacts"
    with Image.open(folder / "eigenvalues.gif") as moving:
        assert moving.size == (320, 320)
    with Image.open(folder / "pairs.png") as pairs:
        assert pairs.size == (2 * 8 * 9, 2 * 4 * 9)


def test_the_algebra_alone_becomes_a_representation() -> None:
    """From a random start, in a few hundred steps, whatever the counts it ends with."""
    torch.manual_seed(0)
    group = group_by_name("C4")
    action = LearnedAction(group, 12, "orthogonal")
    relations = relations_of({"a^4 = e": 1, "a^3 = a^-1": 1}, group)
    optimiser = torch.optim.Adam(action.parameters(), lr=3e-3)
    for step in range(600):
        action.watch(step)
        optimiser.zero_grad()
        action.departure(relations).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    found = action.measure()
    assert float(action.departure(relations).detach()) < 1e-4
    assert found["root_distance"] < 0.02
    assert sum(found[f"count_{n}"] for n in range(4)) == 12
    assert [found[f"inner_{n}"] for n in range(4)] == pytest.approx(
        [found[f"count_{n}"] for n in range(4)], abs=0.05
    )
    assert action.seen[:7].tolist() == [0, 100, 200, 300, 400, 500, -1]


def test_eigenvalues_are_kept_at_fewer_and_fewer_steps() -> None:
    action = LearnedAction(group_by_name("C2"), 2, "orthogonal")
    for step in range(8001):
        if step % 100 == 0:
            action.watch(step)
    kept = [step for step in action.seen.tolist() if step >= 0]
    assert kept == [*range(0, 2001, 100), 4000, 6000, 8000]
    for step in range(10_000, 2000 * 2 * KEPT, 2000):
        action.watch(step)
    assert (action.seen >= 0).all()
    assert int(action.steps) == 2000 * 2 * KEPT - 2000 + 1


def test_relations_that_do_not_hold_are_refused_when_trained_too() -> None:
    objective = AlgebraAlone(
        {}, relations={"a^2 = e": 1}, regularisers={}, start="normal", algebra_weight=1
    )
    with pytest.raises(ValueError, match="does not hold in D3"):
        objective.prepare(_Latent(), dataset_of(TURNED))


class _Latent(torch.nn.Module):
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(len(x), 6)
