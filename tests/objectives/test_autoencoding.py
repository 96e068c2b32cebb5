"""Autoencoders, variational ones and their probes, from the loss to a training that is stopped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import spaces
import torch
from torch.distributions import Normal, kl_divergence

from equigrid.datasets.raw import RawStore
from equigrid.metrics.metric import Scores
from equigrid.metrics.probes import KNNAccuracy, LinearAccuracy, Purity, VMeasure
from equigrid.metrics.reconstruction import CosineDistance
from equigrid.objectives import autoencoding
from equigrid.objectives.autoencoding import Autoencoding
from equigrid.objectives.batch import Batch, Step
from equigrid.objectives.task import Reconstruction
from equigrid.orchestration.worker import Worker
from equigrid.planning.workspace import Workspace
from equigrid.spherical.rotations import random_rotations, rotate
from equigrid.stages.augment_cache import augment_cache
from equigrid.stages.data_build import data_build
from equigrid.trial import data_key

DATASET = {
    "builder": "spherical_mnist", "source": "digits", "train": 60, "val": 20, "test": 30,
    "bandwidth": 6, "degree": 2,
}  # fmt: skip
MODEL = {"holographic_autoencoder": {"latent": 3, "degrees": [1], "channels": [3]}}


def space(**changes):
    content = {
        "datasets": {"NR-R": DATASET, "R-R": {**DATASET, "train_turned": True}},
        "columns": {
            f"{name} {metric}": {"dataset": name, "split": "test", "metric": metric}
            for name in ("NR-R", "R-R")
            for metric in ("cosine", "mse", "knn_accuracy", "purity", "rotation_error")
        },
        "rows": {
            "Spectrum": {"model": {"power_spectrum": {"components": 2}}},
            "AE": {
                "model": MODEL, "objective": "autoencoding",
                "grid": {"lr": [0.01], "alpha": [50], "beta": [0]},
            },
            "VAE": {
                "model": MODEL, "objective": {"autoencoding": {"warm_up": 2, "rise": 4}},
                "grid": {"lr": [0.01], "alpha": [50], "beta": [0.6]},
            },
        },
        "layout": "datasets",
        "training": {"epochs": 8, "batch_size": 20, "patience": 8, "select": "val_loss"},
        "seeds": {"grid": [0], "final": [0, 1]},
    }  # fmt: skip
    return content | changes


def test_kl_is_that_of_torchs_distributions():
    mean, log_variance = torch.randn(5, 4).double(), torch.randn(5, 4).double()
    wanted = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(autoencoding.kl_divergence(mean, log_variance), wanted)


def test_beta_waits_and_then_rises_to_its_value():
    found = Autoencoding({"alpha": 50, "beta": 0.6}, warm_up=25, rise=35)
    assert [found.beta_in(n) for n in (1, 25, 26, 60, 80)] == pytest.approx(
        [0, 0, 0.6 / 35, 0.6, 0.6]
    )
    assert Autoencoding({"alpha": 1, "beta": 2.0}).beta_in(1) == 2.0


class Fixed(torch.nn.Module):
    """Known distributions; what it decodes is z's first number everywhere."""

    def distribution(self, x):
        return torch.full((len(x), 2), 3.0), torch.full((len(x), 2), -40.0), torch.zeros(len(x), 1)

    def head(self, latent):
        return latent[:, :1, None].expand(-1, 1, 4)


def test_the_loss_is_alpha_mse_plus_beta_kl_as_the_warm_up_has_it():
    class Data:
        def plain(self, source, rows):
            return torch.ones(len(rows), 1, 4)

        targets = plain

    nothing = torch.zeros(6, dtype=torch.int64)
    objective = Autoencoding({"alpha": 50.0, "beta": 2.0}, warm_up=1, rise=4)
    for epoch, beta in ((1, 0.0), (2, 0.5), (9, 2.0)):
        step = Step(epoch, 9)
        batch = Batch(Data(), nothing, *[nothing] * 4, nothing, step=step)
        loss = objective(Fixed(), batch, Reconstruction())
        kl = 0.5 * (9 + 40 - 1)
        assert float(loss.total) == pytest.approx(50 * 4 + beta * kl, rel=1e-5)
        assert not step.reads_epochs  # a longer training goes on from a shorter one


def test_probes_find_what_is_there_and_nothing_where_nothing_is():
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    centres = 8 * torch.eye(3)[labels]
    apart = centres + torch.randn(300, 3, generator=stream)
    noise = torch.randn(300, 3, generator=stream)
    for probe in (Purity, VMeasure, KNNAccuracy, LinearAccuracy):
        scores = []
        for latents in (apart, noise):
            found = probe()
            with torch.inference_mode():  # as in a test
                found.fit(latents[:200], labels[:200])
                found.update(latents[200:250], labels[200:250])
                found.update(latents[250:], labels[250:])
                scores.append(found.compute())
        assert scores[0] > 0.99, probe
        assert scores[1] < 0.6, probe


def test_cosines_count_degrees_as_told():
    x = torch.tensor([[[1.0, 0, 0, 0]], [[1.0, 1, 0, 0]]])
    y = torch.tensor([[[2.0, 0, 0, 0]], [[1.0, 0, 0, 0]]])
    plain, weighted = CosineDistance(), CosineDistance(by_degree=True)
    for metric in (plain, weighted):
        metric.update(x, y)
    assert plain.compute() == pytest.approx(0.5 * (1 - 2**-0.5))
    assert weighted.compute() == pytest.approx(0.5 * (1 - (1 + 3**0.5) ** -0.5))
    found = Scores(["mse"])
    found.update(x, y)
    assert found.compute()["mse"] == pytest.approx(0.25)


def test_a_kl_of_a_model_without_a_variance_is_refused(tmp_path):
    (settings,) = MODEL.values()
    content = space()
    content["rows"]["VAE"]["model"] = {
        "holographic_autoencoder": {**settings, "variational": False}
    }
    spaces.write(tmp_path / "sphere.yaml", content)
    refused = spaces.in_this_process("plan", "sphere.yaml", folder=tmp_path, expect=2)
    assert re.search(
        r"sphere.yaml:\d+: rows.VAE.grid.beta\S*: 0.6: .*variational false; allowed: 0$",
        refused.stderr.strip(),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spherical")
    spaces.write(folder / "sphere.yaml", space())
    done = spaces.in_this_process("run", "sphere.yaml", "--in-process", folder=folder, drawn=True)
    return folder, done.stdout


def test_table_page_and_files_of_a_run(finished):
    folder, _ = finished
    tables = spaces.tables(folder / "workspace", "sphere")
    text = tables["table.md"].decode()
    assert text.index("## NR-R") < text.index("| AE |") < text.index("## R-R")
    lines = [line for line in text.splitlines() if line.startswith("| Spectrum")]
    assert len(lines) == 2
    assert lines[0].count("|") == 2 + 1 + 5
    assert tables["table.tex"].decode().count("\\begin{tabular}") == 2
    page = (folder / "workspace" / "reports" / "sphere" / "index.html").read_text()
    for words in ("What the latents hold", "VAE: samples of the prior", "AE: latents, NR-R"):
        assert words in page
    records = [
        json.loads(path.read_text()) for path in (folder / "workspace/records").glob("*.json")
    ]
    finals = [it for it in records if it["test"] and it["trial"]["row"] in ("AE", "VAE")]
    assert len(finals) == 8
    for record in finals:
        assert record["test"]["test"]["rotation_error"] < 1e-9
        names = {"latents.safetensors", "reconstructions.png", "interpolations.png"}
        extra = {"samples.png"} if record["trial"]["row"] == "VAE" else set()
        assert set(record["artifacts"]) == names | extra
    file = folder / "workspace" / "files" / finals[0]["key"] / "latents.safetensors"
    kept = safetensors.torch.load_file(file)
    assert (kept["z"].shape, kept["labels"].shape) == ((30, 3), (30,))


def test_new_inputs_are_embedded_and_a_turned_one_is_as_the_other(finished):
    folder, _ = finished
    key = next(
        path.stem
        for path in (folder / "workspace/records").glob("*.json")
        if json.loads(path.read_text())["trial"]["row"] == "VAE"
    )
    turns = random_rotations(4, np.random.default_rng(0))
    f = torch.randn(4, 9, generator=torch.Generator().manual_seed(1)).double()
    np.savez(folder / "still.npz", coefficients=f.numpy())
    np.savez(folder / "turned.npz", coefficients=rotate(f, turns).numpy())
    for name in ("still", "turned"):
        done = spaces.in_this_process("embed", key[:12], f"{name}.npz", folder=folder)
        assert f"{name}.embedded.npz: frame [4, 3, 3], z [4, 3]" in done.stdout
    still, turned = (np.load(folder / f"{name}.embedded.npz") for name in ("still", "turned"))
    np.testing.assert_allclose(turned["z"], still["z"], atol=1e-4)
    moved = np.einsum("nij,nkj->nki", turns, still["frame"])
    np.testing.assert_allclose(turned["frame"], moved, atol=1e-3)
    np.savez(folder / "flat.npz", images=np.arange(3 * 64).reshape(3, 8, 8))
    spaces.in_this_process("embed", key[:12], "flat.npz", "-o", "out.npz", folder=folder)
    assert np.load(folder / "out.npz")["z"].shape == (3, 3)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"coefficients": np.ones((2, 8))}, "coefficients are [2, 8], expected [n, 9]"),
        ({"samples": np.ones((2, 4, 4))}, "a grid of 2b by 2b, b above 2"),
        ({"pixels": np.ones((2, 4, 4))}, "it has pixels; allowed: one of images, samples"),
        ({"images": np.full((1, 8, 8), np.nan)}, "not finite"),
        ({"images": np.array(["a"])}, "not rows of numbers"),
        ({"images": np.array([{}], object)}, "not an .npz file of arrays"),
    ],
)
def test_a_file_that_cannot_be_embedded_is_refused_in_one_line(finished, arrays, reason):
    folder, _ = finished
    key = next((folder / "workspace/weights").iterdir()).stem
    np.savez(folder / "bad.npz", **arrays, allow_pickle=True)
    refused = spaces.in_this_process("embed", key, "bad.npz", folder=folder, expect=2)
    assert reason in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_data_do_not_depend_on_how_many_threads_there_are(tmp_path):
    code = (
        "import sys; from equigrid.datasets.raw import RawStore; "
        "from equigrid.config.resolution import resolve_dataset; "
        "from equigrid.config.schema import DatasetSpec; "
        "from equigrid.datasets.store import content_hash; "
        "builder = resolve_dataset('d', DatasetSpec.model_validate(dict("
        "builder='spherical_mnist', source='digits', train=900, val=100, bandwidth=20, degree=8, "
        "train_turned=True))).builder; "
        "base = builder.build(RawStore(), lambda *_: None); "
        "print(content_hash(builder.augment(base, lambda *_: None), {}))"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], env=spaces.environment(OMP_NUM_THREADS=threads, **{
                "OPENBLAS_NUM_THREADS": threads}), check=True, capture_output=True, text=True,
        ).stdout
        for threads in ("1", "3")
    }  # fmt: skip
    assert len(hashes) == 1


def test_a_vae_stopped_while_beta_rises_goes_on_to_the_bit(finished, quiet, tmp_path):
    there, here = Workspace(finished[0] / "workspace"), Workspace(tmp_path / "workspace")
    for name in ("data", "cache"):
        shutil.copytree(there.root / name, here.root / name)
    through = next(
        it
        for it in map(there.record, there.record_keys())
        if it.trial.row == "VAE" and it.trial.seed == 1
    )
    trial = through.trial
    base = data_build(here, trial.data, RawStore(), quiet)
    prepared = {data_key(trial.data): augment_cache(here, trial.data, base, quiet)}

    def worker():
        found = Worker(here.root, prepared, 0, "cpu")
        found.assign(trial)
        return found

    stopped = worker()
    for epoch in range(1, 5):  # beta rises from the third to the sixth
        assert stopped.advance(0).epochs_done == epoch
    stopped.drop()
    going, slices = worker(), []
    while not slices or slices[-1].state == "training":
        slices.append(going.advance(0))
    assert sum(len(it.epochs) for it in slices) == 4
    record = here.record(trial.key)
    for name in ("history", "weights_sha256", "test", "artifacts"):
        assert getattr(record, name) == getattr(through, name), name
