"""A linear action of a group on the latent that is free to be learned (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from equigrid.symmetry import FiniteGroup
from equigrid.symmetry.characters import (
    conjugacy_classes,
    distance_to_regular,
    multiplicities,
)
from equigrid.symmetry.words import Relation, Word, order_of, words_of

#: How a generator's matrix [d, d] starts, by name: a function of d.
STARTS: Mapping[str, Callable[[int], Tensor]] = {
    "uniform": lambda d: torch.rand(d, d),
    "normal": lambda d: torch.randn(d, d),
    "scaled_normal": lambda d: torch.randn(d, d) / d**0.5,
    "orthogonal": lambda d: _orthogonal(d),
    "noisy_orthogonal": lambda d: _orthogonal(d) + 0.3 * torch.randn(d, d),
    "near_identity": lambda d: torch.eye(d) + 0.1 * torch.randn(d, d) / d**0.5,
}
#: Eigenvalues are kept at steps 0, DENSE, …, SPARSE, then every SPARSE, as many as fit.
DENSE, SPARSE, KEPT = 100, 2000, 128
#: λⁿ − 1 is flat at 0: an eigenvalue of a smaller modulus may be stuck there.
STUCK = 0.5


def _orthogonal(d: int) -> Tensor:
    found: Tensor = nn.init.orthogonal_(torch.empty(d, d))
    return found


class LearnedAction(nn.Module):
    """M, a free matrix [d, d] for each generator; an element acts by its shortest word.

    Drawn from torch's own generators. Keeps its start and its eigenvalues on the way:
    `start` [generators, d, d]; `seen` [KEPT] steps, −1 where none; `eigenvalues`
    [KEPT, generators, d, 2], real and imaginary part.
    """

    def __init__(self, group: FiniteGroup, latent: int, start: str) -> None:
        super().__init__()
        self.group, self.words = group, words_of(group)
        count = len(group.generators)
        self.start: Tensor
        self.seen: Tensor
        self.steps: Tensor
        self.eigenvalues: Tensor
        first = torch.stack([STARTS[start](latent) for _ in range(count)])
        self.register_buffer("start", first)
        self.matrices = nn.Parameter(first.clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("seen", torch.full((KEPT,), -1))
        self.register_buffer("eigenvalues", torch.zeros(KEPT, count, latent, 2))

    def of_word(self, word: Word) -> Tensor:
        """[d, d]: the product of a word's matrices; inverses by a linear solve."""
        identity = torch.eye(self.matrices.shape[1], device=self.matrices.device)
        found = identity.to(self.matrices.dtype)
        for n, power in word:
            matrix = self.matrices[n]
            if power < 0:
                matrix = torch.linalg.solve(matrix, identity.to(matrix.dtype))
            found = found @ torch.linalg.matrix_power(matrix, abs(power))
        return found

    def of_group(self) -> Tensor:
        """[n, d, d]: a matrix for every element."""
        return torch.stack([self.of_word(self.words[g]) for g in range(self.group.order)])

    def forward(self, elements: Tensor, latents: Tensor) -> Tensor:
        """[b] elements g and [b, d] latents z → [b, d] M_g z."""
        everywhere = torch.einsum("nij,bj->bni", self.of_group(), latents)
        at = elements[:, None, None].expand(-1, 1, latents.shape[1])
        return everywhere.gather(1, at)[:, 0]

    def departure(self, relations: Mapping[Relation, float]) -> Tensor:
        """Σ weight · MSE(left, right), the mean over entries: zero where all relations hold."""
        total = torch.zeros((), dtype=self.matrices.dtype, device=self.matrices.device)
        for relation, weight in relations.items():
            difference = self.of_word(relation.left) - self.of_word(relation.right)
            total = total + weight * difference.square().mean()
        return total

    @torch.no_grad()
    def watch(self, step: int) -> None:
        """Called before step 0, 1, …: counts it, and keeps the eigenvalues now and then."""
        self.steps.fill_(step + 1)
        if step % (DENSE if step <= SPARSE else SPARSE) == 0:
            free = int((self.seen >= 0).sum())
            if free < KEPT:
                self.seen[free] = step
                self.eigenvalues[free] = torch.view_as_real(torch.linalg.eigvals(self.matrices))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Which representation it is: `count_i` and `inner_i` of each irreducible.

        count: of a group with one generator its eigenvalues by the nearest root of unity, else by
        the inner product of characters with one word for each class; inner: over all elements. They
        are equal for a true representation. regular_distance: of the counts from the multiple of
        the regular representation. root_distance: the largest of an eigenvalue of a generator from
        its root. stuck: eigenvalues of modulus below STUCK.
        """
        values = torch.linalg.eigvals(self.matrices.detach().cpu().double()).numpy()
        orders = [order_of(g, self.group) for g in self.group.generators]
        roots = [np.exp(2j * np.pi * np.arange(order) / order) for order in orders]
        away = [abs(found[:, None] - root) for found, root in zip(values, roots, strict=True)]
        every = self.of_group().detach().cpu().double()
        traces = torch.einsum("nii->n", every).numpy().astype(np.complex128)
        if len(orders) == 1:
            counts = np.bincount(away[0].argmin(1), minlength=orders[0]).astype(float)
        else:
            counts = multiplicities(self.group, traces[self._representatives()])
        inner = multiplicities(self.group, traces)
        found = {f"count_{n}": float(count) for n, count in enumerate(counts)}
        found |= {f"inner_{n}": float(count) for n, count in enumerate(inner)}
        return found | {
            "regular_distance": distance_to_regular(self.group, counts),
            "root_distance": max(float(it.min(1).max()) for it in away),
            "stuck": float(sum((abs(found) < STUCK).sum() for found in values)),
        }

    def _representatives(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[n]: of every element the one of its class with the shortest word."""
        classes = conjugacy_classes(self.group)
        first: dict[int, int] = {}
        for element in self.words:
            first.setdefault(int(classes[element]), element)
        return np.array([first[int(c)] for c in classes])
