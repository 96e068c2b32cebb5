"""What a dataset has to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from equigrid.config.resolution import resolve_dataset
from equigrid.config.schema import DatasetSpec
from equigrid.datasets.builder import checked_arrays
from equigrid.datasets.raw import RawStore
from equigrid.datasets.resident import Dataset
from equigrid.datasets.store import content_hash
from equigrid.testing.small import arrays_of, dataset_of


class DatasetCase:
    """dataset: as in a search space, small.

    exact: the identity leaves an input as it is (not where views have artefacts).
    """

    dataset: ClassVar[Mapping[str, Any]]
    exact: ClassVar[bool] = True

    def act(self, data: Dataset, elements: Tensor, x: Tensor) -> Tensor:
        """[b] elements and [b, *input_shape] inputs → e·x; write it to have the action tested."""
        raise SkipTest("act is not written")

    def opened(self) -> Dataset:
        return dataset_of(self.dataset)

    def test_the_same_recipe_gives_the_same_arrays(self) -> None:
        found = resolve_dataset("data", DatasetSpec.model_validate(dict(self.dataset)))
        base = checked_arrays(found.builder.build(RawStore(), lambda done, total: None))
        cache = checked_arrays(found.builder.augment(base, lambda done, total: None))
        before = arrays_of(self.dataset)
        assert content_hash({**base, **cache}, {}) == content_hash(before, {})

    def test_the_builder_says_what_the_dataset_is(self) -> None:
        builder = resolve_dataset("data", DatasetSpec.model_validate(dict(self.dataset))).builder
        data = self.opened()
        assert data.size("train") == builder.train_size
        assert builder.input_shape in (None, data.input_shape)
        assert set(data.sources) == {"val", *builder.test_splits}
        assert (data.task, tuple(data.metrics)) == (builder.task, tuple(builder.metrics))
        assert builder.least_bytes <= sum(
            array.nbytes for array in arrays_of(self.dataset).values()
        )

    def test_inputs_and_targets_are_a_sample_each(self) -> None:
        data = self.opened()
        for source in ("train", *data.sources.values()):
            rows = torch.arange(min(3, data.size(source)))
            assert data.plain(source, rows).shape == (len(rows), *data.input_shape)
            assert len(data.targets(source, rows)) == len(rows)
            one = data.plain(source, rows[-1:])
            assert torch.equal(one[0], data.plain(source, rows)[-1])

    def test_splits_that_are_seen_moved_have_an_element_for_each_sample(self) -> None:
        data = self.opened()
        if data.group.order == 1 and not data.views:
            raise SkipTest("nothing moves")
        assert "val" in data.views, "validation measures equivariance at fixed elements"
        for split, views in data.views.items():
            size = data.size(data.sources[split])
            for elements in (views.elements, views.pair_elements):
                assert elements.shape == (size,)
                assert 0 <= int(elements.min()) <= int(elements.max()) < data.group.order
            for draws in (views.draws, views.pair_draws):
                assert draws.shape == (size,)
                assert 0 <= int(draws.min()) <= int(draws.max()) < data.draws

    def test_the_identity_moves_nothing(self) -> None:
        if not self.exact:
            raise SkipTest("views have artefacts")
        data = self.opened()
        rows = torch.arange(min(4, data.size("train")))
        nothing = torch.zeros_like(rows)
        assert torch.equal(data.view("train", rows, nothing, nothing), data.plain("train", rows))

    def test_the_action_is_a_homomorphism(self) -> None:
        """g·(h·x) is the view at the element that `composition` says, for all pairs."""
        data = self.opened()
        table = torch.from_numpy(np.array(data.composition))
        rows = torch.zeros(1, dtype=torch.int64)
        for h in range(data.group.order):
            moved = data.view("train", rows, torch.tensor([h]), rows)
            elements = torch.arange(data.group.order)
            twice = self.act(data, elements, moved.expand(data.group.order, *moved.shape[1:]))
            many = rows.expand(data.group.order)
            torch.testing.assert_close(twice, data.view("train", many, table[elements, h], many))
