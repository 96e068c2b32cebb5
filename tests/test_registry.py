"""What the registry refuses for want of an optional package."""

from __future__ import annotations

from dataclasses import replace

import pytest

from equigrid.errors import InputError
from equigrid.lookup import metric_entry, model_entry, objective_entry
from equigrid.registry import METRICS, MODELS, OBJECTIVES


@pytest.mark.parametrize(
    ("entries", "name", "entry"),
    [
        (MODELS, "small_cnn", model_entry),
        (OBJECTIVES, "augmented", objective_entry),
        (METRICS, "auc", metric_entry),
    ],
)
def test_what_an_entry_requires_and_lacks_comes_with_the_command(entries, name, entry, monkeypatch):
    wanting = replace(entries[name], requires=("json", "no_such_package"), extra="spherical")
    monkeypatch.setitem(entries, name, wanting)
    with pytest.raises(InputError, match=r"needs no_such_package: pip install 'equigrid\[sph"):
        entry(name)
    monkeypatch.setitem(entries, name, replace(wanting, requires=("json",)))
    assert entry(name).extra == "spherical"
