"""What is trained on a GPU is what is trained on a CPU."""

from __future__ import annotations

import meaning
import pytest
import torch

from equigrid.training.model import build_model
from equigrid.trial import Trial


def trial(model: str) -> Trial:
    settings = meaning.NETWORKS[model][1]
    return Trial("devices", "row", "data", "grid", {"name": model, **settings},
                 {"name": "augmented"}, {}, {"lr": 1e-3}, 0, {})  # fmt: skip


def test_only_a_cpu_has_the_layout_that_a_gpu_differentiates_wrongly() -> None:
    dataset = meaning.dataset_of("double digits, exact")
    here, there = (build_model(trial("ddmnist_cnn"), dataset, device) for device in ("cpu", "meta"))
    weights = [it for it in here.parameters() if it.ndim == 4 and it.shape[1] > 1]
    assert weights
    assert all(it.is_contiguous(memory_format=torch.channels_last) for it in weights)
    assert all(it.is_contiguous() for it in there.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("model", meaning.NETWORKS)
def test_gradients_on_a_gpu_are_those_on_a_cpu(model: str) -> None:
    dataset = meaning.dataset_of(meaning.NETWORKS[model][0])
    found = []
    for device in ("cpu", "cuda"):
        network = build_model(trial(model), dataset, device).train()
        if not list(network.parameters()):
            return
        x = dataset.plain("train", torch.arange(16)).to(device)
        with torch.backends.cudnn.flags(allow_tf32=False):
            outputs = network(x)
            outputs.square().mean().backward()
        found.append([it.grad.cpu() for it in network.parameters() if it.grad is not None])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-3, atol=1e-5)
