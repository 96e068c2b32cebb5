"""MedMNIST3D: what medmnist says of a set, its files, and volumes under the rotations."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import medmnist.info
import numpy as np
import pytest
import torch
import volumes

from equigrid.config.experiment import load_experiment
from equigrid.datasets.medmnist3d.builder import MedMNIST3D, MedMNIST3DParameters, medmnist_info
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError, MissingRawDataError
from equigrid.objectives.batch import Batch
from equigrid.symmetry import group_by_name

FLAG = "adrenalmnist3d"
OCTAHEDRAL = group_by_name("octahedral")


def builder(flag=FLAG, group=OCTAHEDRAL, **parameters):
    return MedMNIST3D(MedMNIST3DParameters(flag=flag, **parameters), group)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    volumes.put(folder, FLAG, volumes.made_up(FLAG))
    return RawStore(folder)


@pytest.fixture(scope="module")
def base(raw, quiet):
    return builder(pool=2).build(raw, quiet)


def resident(base, quiet, **parameters):
    made = builder(pool=2, **parameters)
    return made.resident({**base, **made.augment(base, quiet)}, "cpu")


def test_sets_are_medmnists_own():
    """Flags, classes, splits, URLs and MD5s, read without importing the package."""
    expected = {flag: entry for flag, entry in medmnist.info.INFO.items() if flag.endswith("3d")}
    assert medmnist_info() == expected
    assert len(expected) == 6
    for flag, info in expected.items():
        made = builder(flag)
        assert made.outputs == len(info["label"])
        assert made.train_size == info["n_samples"]["train"]
        assert made.input_shape == (1, 28, 28, 28)
        (file,) = made.raw_files
        assert (file.name, file.url) == (f"medmnist3d/{flag}.npz", info["url"])
        assert file.official == f"md5:{info['MD5']}"


def test_asking_for_a_set_makes_nothing_and_imports_nothing(tmp_path):
    """medmnist's own import makes a folder in the home and loads torch."""
    script = (
        "import sys; from equigrid.datasets.medmnist3d.builder import medmnist_info\n"
        "medmnist_info()\n"
        "assert not {'torch', 'medmnist', 'torchvision'} & set(sys.modules)"
    )
    environ = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script], env=environ, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="'livermnist3d'; medmnist has: adrenalmnist3d, "):
        builder("livermnist3d")
    with pytest.raises(ValueError, match="group C4 has no action"):
        builder(group=group_by_name("C4"))


def test_splits_are_shuffled_and_keep_their_volumes(raw, quiet):
    """Files may be sorted by class: each split is permuted, the same way for a seed."""
    found, arrays = builder().build(raw, quiet), volumes.made_up(FLAG)
    again, other = builder().build(raw, quiet), builder(seed=1).build(raw, quiet)
    for split in ("train", "val", "test"):
        images, labels = found[f"{split}/images"], found[f"{split}/labels"]
        official = arrays[f"{split}_images"]
        assert images.shape == (len(official), 1, 28, 28, 28)
        digests = [hashlib.sha256(volume.tobytes()).hexdigest() for volume in images]
        expected = {
            hashlib.sha256(volume.tobytes()).hexdigest(): int(label)
            for volume, label in zip(official, arrays[f"{split}_labels"].ravel(), strict=True)
        }
        assert sorted(digests) == sorted(expected)
        assert [expected[digest] for digest in digests] == labels.tolist()
        assert (np.diff(labels) != 0).sum() > len(labels) / 5  # no longer sorted
        np.testing.assert_array_equal(again[f"{split}/labels"], labels)
        assert (other[f"{split}/labels"] != labels).any()


def test_pooled_voxels_are_means_of_eight(raw, base, quiet):
    whole = builder().build(raw, quiet)
    blocks = whole["val/images"].reshape(-1, 1, 14, 2, 14, 2, 14, 2).astype(float)
    assert base["val/images"].shape[1:] == (1, 14, 14, 14)
    assert np.abs(base["val/images"] - blocks.mean((3, 5, 7))).max() <= 0.5


@pytest.mark.parametrize("action", ["paper", "released"])
def test_batches_are_volumes_rotated_one_after_the_other(base, quiet, action):
    """x1 = a·x, x2 = g·x1; `released` is x'(p) = x(Rp), no left action, but still one by one."""
    dataset = resident(base, quiet, action=action)
    rows = torch.arange(24).repeat(24)
    a, g = torch.arange(24).repeat_interleave(24), torch.arange(24).repeat(24)
    none = torch.zeros_like(rows)
    table = torch.from_numpy(dataset.composition.copy())
    batch = Batch(dataset, rows, a, g, none, none, table)
    indices = dataset._action.numpy()
    voxels = batch.x.flatten(1).numpy()
    once = np.take_along_axis(voxels, indices[a.numpy()], 1)
    twice = np.take_along_axis(once, indices[g.numpy()], 1)
    np.testing.assert_array_equal(batch.x1.flatten(1).numpy(), once)
    np.testing.assert_array_equal(batch.x2.flatten(1).numpy(), twice)
    rotation = OCTAHEDRAL.generators[0]  # a quarter turn: paper and released turn it oppositely
    moved = dataset.view("train", rows[:1], torch.tensor([rotation]), none[:1])[0, 0]
    sign = 1 if action == "paper" else -1
    expected = np.rot90(batch.x[0, 0].numpy(), sign, axes=(0, 1))
    np.testing.assert_array_equal(moved.numpy(), expected)


def test_tests_are_upright_and_validation_is_rotated(base, quiet):
    dataset = resident(base, quiet)
    assert "test" not in dataset.views
    assert dataset.sources["test"] == "test"
    elements = dataset.views["val"].elements
    assert len(set(elements.tolist())) > 12
    np.testing.assert_allclose(
        dataset.plain("test", torch.arange(3)).numpy(),
        base["test/images"][:3] / 255 / 0.5 - 1,
        atol=1e-6,
    )
    assert dataset.label(torch.tensor(1)) == medmnist_info()[FLAG]["label"]["1"]


def _without(arrays, key):
    return {name: array for name, array in arrays.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda it: _without(it, "val_labels"), "val_labels holds nothing, expected uint8"),
        (lambda it: it | {"train_images": it["train_images"][1:]}, "train_images holds uint8"),
        (lambda it: it | {"test_images": it["test_images"].astype(float)}, "holds float64"),
        (lambda it: it | {"test_labels": it["test_labels"] + 1}, "a label beyond 1"),
        (lambda it: it | {"val_labels": np.array([object()])}, "not an .npz file of arrays"),
        (None, "not an .npz file of arrays"),
    ],
)
def test_a_file_that_is_not_the_set_is_named(tmp_path, quiet, damage, said):
    arrays = volumes.made_up(FLAG)
    path = volumes.put(tmp_path, FLAG, arrays if damage is None else damage(arrays))
    if damage is None:
        path.write_bytes(b"no zip at all")
    with pytest.raises(InputError) as caught:
        builder().build(RawStore(tmp_path), quiet)
    assert f"medmnist3d/{FLAG}.npz" in str(caught.value)
    assert said in str(caught.value)


def test_a_file_put_there_by_hand_is_tracked_by_its_sha_256(raw, caplog):
    path = raw.folder / "medmnist3d" / f"{FLAG}.npz"
    found = builder().raw_fingerprints(RawStore(raw.folder))
    content = path.read_bytes()
    assert found == {f"medmnist3d/{FLAG}.npz": hashlib.sha256(content).hexdigest()}


def test_an_official_file_has_one_fingerprint_with_and_without_it(tmp_path, monkeypatch):
    """So a plan's keys stay when the file is fetched: medmnist publishes an MD5 alone."""
    file = builder().raw_files[0]
    content = b"the official content"
    official = type(file)(file.name, file.url, f"md5:{hashlib.md5(content).hexdigest()}")
    store = RawStore(tmp_path)
    before = store.fingerprint(official)
    (tmp_path / "medmnist3d").mkdir()
    (tmp_path / official.name).write_bytes(content)
    assert store.content(official) == content
    assert RawStore(tmp_path).fingerprint(official) == before == official.official


def test_a_set_without_its_file_says_what_to_put_where(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("pooch.retrieve", _unreachable)
    with pytest.raises(MissingRawDataError) as caught:
        builder("synapsemnist3d").build(RawStore(tmp_path), quiet)
    for part in (str(tmp_path / "medmnist3d" / "synapsemnist3d.npz"), "https://", "put it at"):
        assert part in str(caught.value)


def _unreachable(*args, **options):
    raise OSError("no network")


@pytest.mark.skipif(
    not (Path(os.environ.get("EQUIGRID_RAW_DIR", "")) / "medmnist3d").is_dir(),
    reason="EQUIGRID_RAW_DIR names no folder with MedMNIST3D in it (medmnist3d/)",
)
@pytest.mark.parametrize(
    ("dataset", "train", "classes"), [("nodule", 1158, [863, 295]), ("organ", 971, None)]
)
def test_the_real_sets_have_their_published_sizes(dataset, train, classes, quiet):
    found = load_experiment("medmnist3d").datasets[dataset].builder
    arrays = found.build(RawStore(), quiet)
    assert len(arrays["train/labels"]) == train
    if classes:
        assert np.bincount(arrays["train/labels"]).tolist() == classes
