"""Training in bf16: what is rounded, what is not, and that it can be repeated."""

from __future__ import annotations

import logging

import meaning
import pytest
import torch
from torch import nn
from trained import train

from equigrid.config.schema import TrainingSpec
from equigrid.models.ddmnist_cnn import DDMNISTCNN
from equigrid.models.field_cnn import FieldCNN
from equigrid.training import precision
from equigrid.training.evaluation import evaluate
from equigrid.training.model import build_model
from equigrid.training.normalisation import with_accurate_sums
from equigrid.training.weights import load_weights
from equigrid.trial import Trial


@pytest.fixture
def in_bf16(make_trial):
    def make(**changes):
        trial = make_trial(lr=0.01, **changes)
        return make_trial(
            lr=0.01, **(changes | {"training": {**trial.training, "precision": "bf16"}})
        )

    return make


def test_only_steps_are_rounded(start, make_trial, in_bf16, trial_files, tiny):
    """Convolutions in bf16 while training; weights and every score in single precision.

    And strided convolutions of few channels, whose gradient would be slow.
    """
    run = start(in_bf16(role="final"), "bf16")
    seen = {False: set(), True: set()}
    for module in run.engine.model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            is_strided = getattr(module, "stride", (1, 1)) != (1, 1)
            few = is_strided and module.in_channels < precision.FEW_CHANNELS
            module.register_forward_hook(
                lambda it, _, output, few=few: seen[few].add((it.training, output.dtype))
            )
    record = train(run)
    assert seen[False] == {(True, torch.bfloat16), (False, torch.float32)}
    assert seen[True] == {(True, torch.float32), (False, torch.float32)}
    weights, _ = load_weights(trial_files("bf16").weights)
    assert {it.dtype for it in weights.values() if it.is_floating_point()} == {torch.float32}
    tested = evaluate(run.engine.model.eval(), tiny, "test", "cpu")
    assert record.test["test"]["loss"] == tested["loss"]
    full = train(start(make_trial(lr=0.01), "fp32"))
    assert record.key != full.key
    losses = [[epoch["train_loss"] for epoch in it.history] for it in (record, full)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_a_training_in_bf16_is_repeated_and_resumed_to_the_bit(start, in_bf16):
    through = train(start(in_bf16(), "through"))
    interrupted = start(in_bf16(), "interrupted")
    interrupted.run_epoch()
    interrupted.run_epoch()
    resumed = train(start(in_bf16(), "interrupted"))
    assert resumed.history == through.history
    assert resumed.weights_sha256 == through.weights_sha256


def test_what_does_not_say_so_trains_as_before():
    """Set or left out, single precision is the same trial."""
    assert "precision" not in TrainingSpec(precision="fp32").settings()
    assert TrainingSpec(precision="bf16").settings()["precision"] == "bf16"


@pytest.mark.parametrize("model", meaning.NETWORKS)
def test_gradients_in_bf16_point_where_those_in_full_point(model):
    """Of every packaged network, on a batch of its data."""
    dataset = meaning.dataset_of(meaning.NETWORKS[model][0])
    found = []
    for kind in ("fp32", "bf16"):
        settings = {"name": model, **meaning.NETWORKS[model][1]}
        trial = Trial("precision", "row", "data", "grid", settings, {"name": "augmented"}, {},
                      {"lr": 1e-3}, 0, {"precision": kind})  # fmt: skip
        network = build_model(trial, dataset, "cpu").train()
        if not list(network.parameters()):
            return
        x = dataset.plain("train", torch.arange(16))
        with precision.autocast(trial, "cpu"):
            loss = network(x).square().mean()
        loss.backward()
        gradients = [it.grad.flatten() for it in network.parameters() if it.grad is not None]
        found.append(torch.cat(gradients))
    assert found[1].dtype == torch.float32
    assert torch.cosine_similarity(*found, dim=0) > 0.99


def test_many_channels_are_normalised_in_bf16_and_the_gradient_stays(monkeypatch):
    """Of a network as wide as table 6's, on as many points."""
    x = torch.randn(4, 20, 40, 40, generator=torch.Generator().manual_seed(0))
    found, seen = [], []
    for kind in (False, True):
        torch.manual_seed(0)
        model = FieldCNN((20, 40, 40), 2, width=64)
        with_accurate_sums(model)
        model = model.to(memory_format=torch.channels_last).train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_hook(lambda it, given, output: seen.append(output.dtype))
        with torch.autocast("cpu", torch.bfloat16, enabled=kind):
            loss = model(x).square().mean()
        loss.backward()
        found.append(torch.cat([it.grad.flatten() for it in model.parameters()]))
    assert set(seen) == {torch.float32, torch.bfloat16}
    assert torch.cosine_similarity(*found, dim=0) > 0.99


@pytest.mark.parametrize(
    "pool", [nn.AvgPool2d(5, 2, 1), nn.AvgPool2d((3, 2)), nn.AvgPool2d(3, 1, divisor_override=4)]
)
def test_an_average_by_convolution_is_the_average(pool):
    model = nn.Sequential(pool)
    x = torch.randn(3, 4, 11, 12, requires_grad=True)
    wanted = model(x)
    (gradient,) = torch.autograd.grad(wanted.square().sum(), x)
    precision.fit_for_bf16(model)
    found = model(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], gradient)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x.bfloat16()).dtype == torch.float32
    assert torch.equal(model.eval()(x), wanted)  # scores are as in fp32
    assert not list(model.parameters())


@pytest.mark.parametrize("pool", [nn.AvgPool2d(3, 2, 1, count_include_pad=False),
                                  nn.AvgPool2d(4, 3, ceil_mode=True)])  # fmt: skip
def test_an_average_of_another_kind_stays_torchs(pool):
    model, x = nn.Sequential(pool), torch.randn(3, 4, 12, 12)
    wanted = model(x)
    precision.fit_for_bf16(model)
    assert torch.equal(model(x), wanted)


def test_a_processor_without_bf16_is_named_once(monkeypatch, caplog, in_bf16):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    precision._say_if_slow.cache_clear()
    with caplog.at_level(logging.WARNING, "equigrid"):
        for _ in range(2):
            precision.autocast(in_bf16(), "cpu")
    assert [it.getMessage() for it in caplog.records] == [
        "precision bf16: this processor has no instructions for it, and takes longer"
    ]
    precision._say_if_slow.cache_clear()


def test_what_goes_into_a_convolution_is_rounded_already():
    """Of table 4's network, whatever the nesting: all but what is pooled."""
    model = DDMNISTCNN((1, 56, 56), 100)
    with_accurate_sums(model)
    precision.fit_for_bf16(model)
    seen = {}
    for name, module in model.encoder.named_children():
        if isinstance(module, nn.Sequential):
            module.register_forward_hook(lambda _, given, out, name=name: seen.update({name: out}))
    model = model.to(memory_format=torch.channels_last).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(20, 1, 56, 56))
    kinds = {name: out.dtype for name, out in seen.items()}
    full, rounded = torch.float32, torch.bfloat16
    assert kinds == {"1": rounded, "2": full, "4": full, "6": full, "7": full}  # "6": few rows
