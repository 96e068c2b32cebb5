"""What packaged parts compute is what their versions stand for.

A run key names a part and its version, not its code. So whatever changes what a part computes
raises the version (a builder's own, TRAINING_VERSION for the rest), and these figures with it:
`python tests/meaning.py`.
"""

from __future__ import annotations

import json
from typing import Any

import meaning
import pytest

from equigrid.registry import DATASETS, MODELS, OBJECTIVES

#: Between processors and builds of torch; a change of meaning moves figures by far more.
DATA_TOLERANCE, TRAINING_TOLERANCE = 1e-5, 1e-4


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return meaning.figures()


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return json.loads(meaning.STORED.read_text("utf-8"))


def test_the_stored_figures_are_of_today_s_versions(found: Any, stored: Any) -> None:
    assert stored["training_version"] == found["training_version"]
    assert stored["builder_versions"] == found["builder_versions"]


def test_every_packaged_part_is_among_them(found: Any) -> None:
    assert {builder for builder, _, _ in meaning.DATA.values()} == set(DATASETS)
    assert set(meaning.NETWORKS) == {name for name, model in MODELS.items() if not model.trivial}
    assert {objective for _, objective, _ in meaning.trainings()} == set(OBJECTIVES)


def test_data_are_the_same_under_the_same_version(found: Any, stored: Any) -> None:
    assert found["data"].keys() == stored["data"].keys()
    for name, arrays in stored["data"].items():
        assert found["data"][name].keys() == arrays.keys()
        for array, (described, *numbers) in arrays.items():
            same, *now = found["data"][name][array]
            assert same == described, (name, array)
            if isinstance(numbers[0], str):
                assert now == numbers, (name, array)
            else:
                assert now == pytest.approx(numbers, rel=DATA_TOLERANCE, abs=1e-8), (name, array)


def test_training_is_the_same_under_the_same_version(found: Any, stored: Any) -> None:
    assert found["training"].keys() == stored["training"].keys()
    for name, expected in stored["training"].items():
        for what, numbers in expected.items():
            close = pytest.approx(numbers, rel=TRAINING_TOLERANCE)
            assert found["training"][name][what] == close, (name, what)
