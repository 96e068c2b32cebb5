"""What tasks and metrics have to keep."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from equigrid.lookup import metric_entry
from equigrid.metrics.metric import Scores, make_metric
from equigrid.objectives.task import task_named


class MetricCase:
    """metric: its name. good, bad: (outputs, targets) of several samples, the first better."""

    metric: ClassVar[str]
    good: ClassVar[tuple[Tensor, Tensor]]
    bad: ClassVar[tuple[Tensor, Tensor]]

    def score(self, *batches: tuple[Tensor, Tensor]) -> dict[str, float]:
        scores = Scores([self.metric])
        scores.fit(*self.good)
        for outputs, targets in batches:
            scores.update(outputs, targets)
        return scores.compute()

    def test_batches_of_any_size_give_the_same_score(self) -> None:
        outputs, targets = self.bad
        whole = self.score(self.bad)
        parts = self.score((outputs[:1], targets[:1]), (outputs[1:], targets[1:]))
        assert self.metric in whole
        assert parts.keys() == whole.keys()
        assert all(abs(parts[name] - value) < 1e-6 for name, value in whole.items())

    def test_it_says_which_way_is_better(self) -> None:
        good, bad = self.score(self.good)[self.metric], self.score(self.bad)[self.metric]
        assert (good > bad) == metric_entry(self.metric).higher_is_better
        assert good != bad

    def test_it_is_made_anew_for_each_pass(self) -> None:
        assert make_metric(self.metric) is not make_metric(self.metric)
        assert self.score(self.good) == self.score(self.good)


class TaskCase:
    """task: its name. outputs, targets: of several samples."""

    task: ClassVar[str]
    outputs: ClassVar[Tensor]
    targets: ClassVar[Tensor]

    def test_the_loss_of_a_split_is_the_loss_of_all_of_it(self) -> None:
        task: Any = task_named(self.task)
        halves = [(self.outputs[:1], self.targets[:1]), (self.outputs[1:], self.targets[1:])]
        kept = [task.keep(outputs, targets) for outputs, targets in halves]
        expected = float(task.loss(self.outputs, self.targets))
        assert abs(task.mean_loss(kept) - expected) < 1e-5 * max(1.0, abs(expected))

    def test_the_loss_can_be_differentiated(self) -> None:
        outputs = self.outputs.clone().requires_grad_()
        loss = task_named(self.task).loss(outputs, self.targets)
        assert loss.ndim == 0
        (gradient,) = torch.autograd.grad(loss, [outputs])
        assert torch.isfinite(gradient).all()
        assert gradient.any()
