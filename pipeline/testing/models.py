"""What a network has to keep."""

from __future__ import annotations

from typing import Any, ClassVar

import safetensors.torch
import torch

from equigrid.lookup import load, model_entry
from equigrid.models.network import Network
from equigrid.symmetry import group_by_name
from equigrid.testing.small import part
from equigrid.training.streams import seeded


class ModelCase:
    """model: as in a search space. input_shape, outputs: what it is made for.

    unused: parameters that no output depends on, where that is meant. group: what a model is made
    for that is made by a dataset's group.
    """

    model: ClassVar[Any]
    input_shape: ClassVar[tuple[int, ...]] = (1, 16, 16)
    outputs: ClassVar[int] = 4
    unused: ClassVar[frozenset[str]] = frozenset()
    group: ClassVar[str] = "C4"

    def make(self, seed: int = 0) -> Any:
        name, given = part(self.model)
        if model_entry(name).by_group:
            given = {**given, "group": group_by_name(self.group)}
        with seeded("cpu", seed, "case"):
            return load(model_entry(name).target)(self.input_shape, self.outputs, **given)

    def inputs(self, count: int = 6) -> torch.Tensor:
        return torch.randn(count, *self.input_shape, generator=torch.Generator().manual_seed(0))

    def test_the_head_of_the_latent_is_the_output(self) -> None:
        model, x = self.make().eval(), self.inputs()
        assert isinstance(model, Network)
        with torch.inference_mode():
            latent = model.encode(x)
            torch.testing.assert_close(model.head(latent), model(x))
        assert latent.shape[0] == len(x)
        assert latent.ndim == 2 or model_entry(part(self.model)[0]).latent_maps

    def test_in_evaluation_a_sample_does_not_depend_on_its_batch(self) -> None:
        model, x = self.make().eval(), self.inputs()
        with torch.inference_mode():
            apart = torch.cat([model(x[:2]), model(x[2:])])
            torch.testing.assert_close(apart, model(x), rtol=1e-4, atol=1e-5)

    def test_the_same_seed_makes_the_same_weights_and_another_others(self) -> None:
        first, again, other = (self.make(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(value, again[name]) for name, value in first.items())
        assert any(not torch.equal(value, other[name]) for name, value in first.items())

    def test_every_parameter_is_trained(self) -> None:
        model = self.make().train()
        model(self.inputs()).square().sum().backward()
        still = {n for n, it in model.named_parameters() if it.grad is None or not it.grad.any()}
        assert still <= self.unused

    def test_its_state_is_all_that_it_remembers(self) -> None:
        """Saved as the best weights are, and loaded into another, it predicts the same."""
        model, other, x = self.make(0), self.make(1), self.inputs()
        model.train()(x)  # moves the running means of a normalisation
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        other.load_state_dict(safetensors.torch.load(safetensors.torch.save(state)))
        with torch.inference_mode():
            assert torch.equal(model.eval()(x), other.eval()(x))
