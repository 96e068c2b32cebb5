"""Scores of classes: accuracy, and the area under the ROC curve."""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor


class Accuracy:
    """The share of samples whose highest output is their class."""

    def __init__(self) -> None:
        self._correct: list[Tensor] = []
        self._count = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """[b, classes] scores and [b] int64."""
        self._correct.append((outputs.argmax(1) == targets).sum())
        self._count += len(targets)

    def compute(self) -> float:
        return int(torch.stack(self._correct).sum()) / self._count


class AUC:
    """Area under the ROC curve of a class against the rest, mean over classes; of softmax scores.

    A class without targets has no curve and is left out. Of two classes, the second one's.
    """

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """[b, classes] scores and [b] int64."""
        self._outputs.append(outputs)
        self._targets.append(targets)

    def compute(self) -> float:
        from sklearn.metrics import roc_auc_score

        scores = torch.cat(self._outputs).softmax(1).cpu().numpy()
        targets = torch.cat(self._targets).cpu().numpy()
        classes = [1] if scores.shape[1] == 2 else sorted(set(targets.tolist()))
        return fmean(float(roc_auc_score(targets == c, scores[:, c])) for c in classes)
