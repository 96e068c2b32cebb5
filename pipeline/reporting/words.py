"""Values as people read them: durations and the names of scores."""

from __future__ import annotations

import re

from equigrid.trial import symbol


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def hyperparameter(name: str) -> str:
    """`lr` → `learning rate`, `lambda` → `λ`, `weight_decay` → `weight decay`."""
    return "learning rate" if name == "lr" else symbol(name).replace("_", " ")


def spoken(score: str) -> str:
    """`val_accuracy` → `validation accuracy`."""
    return re.sub(r"^val_", "validation ", short(score)).replace("_", " ")


def short(score: str) -> str:
    """`val_own:Score` → `val_Score`: a metric from outside the package by its own name."""
    prefix = "val_" if score.startswith("val_") else ""
    return prefix + score.removeprefix("val_").rpartition(":")[2]


def number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"
