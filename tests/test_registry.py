"""What the registry says of packaged parts, and of those that inherit from them."""

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


INHERITS = """
from equigrid.metrics.probes import Purity
from equigrid.models.steerable_field_cnn import LiftFieldCNN
from equigrid.objectives.regular import RegularRepresentation

class Field(LiftFieldCNN):
    invariant = True

class Loss(RegularRepresentation):
    passes = 5

class Probe(Purity):
    pass
"""


def test_a_part_that_inherits_from_a_packaged_one_is_like_it_unless_it_says_otherwise(
    tmp_path, monkeypatch
):
    (tmp_path / "inherits.py").write_text(INHERITS)
    monkeypatch.syspath_prepend(tmp_path)
    own, packaged = model_entry("inherits:Field"), MODELS["lift_field_cnn"]
    for fact in ("task", "axes", "latent_maps", "by_group", "trivial"):
        assert getattr(own, fact) == getattr(packaged, fact), fact
    assert own.invariant
    assert not packaged.invariant
    assert own.parameters().model_dump() == packaged.parameters().model_dump()
    loss = objective_entry("inherits:Loss")
    assert (loss.passes, loss.needs_latent, list(loss.searched)) == (5, True, ["lambda"])
    probe = metric_entry("inherits:Probe")
    assert (probe.higher_is_better, probe.reads, probe.margin) == (True, "latents", None)
