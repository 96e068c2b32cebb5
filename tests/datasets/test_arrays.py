"""`builder: arrays`: files of the user's own, in both formats, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import spaces
import torch

from equigrid.config.resolution import resolve_dataset
from equigrid.config.schema import DatasetSpec
from equigrid.datasets.arrays import LabelledArrays
from equigrid.datasets.raw import RawStore
from equigrid.errors import InputError

SPEC: dict[str, Any] = {
    "builder": "arrays", "group": "C4", "file": "own.npz", "shape": [1, 6, 6], "classes": 3,
    "samples": {"train": 30, "val": 9, "test": 15},
}  # fmt: skip


def own(count: int = 60, shape: tuple[int, ...] = (1, 6, 6)) -> dict[str, Any]:
    """Inputs that tell their label, twenty of each."""
    stream = np.random.default_rng(0)
    labels = np.arange(count) % 3
    inputs = stream.integers(0, 100, (count, *shape)).astype(np.uint8)
    inputs.reshape(count, -1)[:, 0] = 50 * labels
    return {"inputs": inputs, "labels": labels}


def builder(spec: dict[str, Any]) -> LabelledArrays:
    found = resolve_dataset("digits", DatasetSpec.model_validate(spec)).builder
    assert isinstance(found, LabelledArrays)
    return found


def build(folder: Path, arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
    spec = {**SPEC, **changes}
    path = folder / spec["file"]
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return dict(builder(spec).build(RawStore(folder / "raw", beside=folder), lambda n, of: None))


@pytest.mark.parametrize("file", ["own.npz", "own.h5"])
@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_a_file_becomes_three_splits_with_every_label_in_its_share(
    tmp_path: Path, file: str, kind: type
) -> None:
    content = own()
    content["inputs"] = content["inputs"].astype(kind)
    arrays = build(tmp_path, content, file=file)
    for split, per_label in (("train", 10), ("val", 3), ("test", 5)):
        labels, images = arrays[f"{split}/labels"], arrays[f"{split}/images"]
        assert np.bincount(labels).tolist() == [per_label] * 3
        assert images.dtype == (np.uint8 if kind is np.uint8 else np.float32)
        assert np.array_equal(images[:, 0, 0, 0], 50 * labels)
    # No sample is in two splits, and another seed draws others.
    seen = np.concatenate(
        [arrays[f"{it}/images"].reshape(-1, 36) for it in ("train", "val", "test")]
    )
    assert len(np.unique(seen, axis=0)) == 54
    other = build(tmp_path, content, file=file, seed=1)
    assert not np.array_equal(other["train/images"], arrays["train/images"])


def test_splits_may_be_stored_and_volumes_have_one_axis_more(tmp_path: Path) -> None:
    content = {
        f"{split}_{name}": array
        for split, count in (("train", 30), ("val", 9), ("test", 15))
        for name, array in (("images", own(count, (4, 4, 4))["inputs"]),
                            ("labels", own(count)["labels"][:, None]))
    }  # fmt: skip
    arrays = build(
        tmp_path, content, splits="stored", inputs="images", shape=[1, 4, 4, 4], group="octahedral"
    )
    assert arrays["val/images"].shape == (9, 1, 4, 4, 4)
    assert np.array_equal(arrays["val/labels"], own(9)["labels"])


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_elements_act_on_what_a_network_reads(tmp_path: Path, kind: type) -> None:
    """A view at gh is that at h, turned by g; the identity moves nothing."""
    content = own()
    content["inputs"] = content["inputs"].astype(kind)
    arrays = build(tmp_path, content)
    found = builder(SPEC)
    data = found.resident({**arrays, **found.augment(arrays, lambda n, of: None)}, "cpu")
    rows, zeros = torch.arange(4), torch.zeros(4, dtype=torch.int64)
    plain = data.plain("test", rows)
    assert torch.equal(plain, data.view("test", rows, zeros, zeros))
    values = content["inputs"].max()
    limits = (-1.0, 1.0) if kind is np.uint8 else (0.0, float(values))
    assert limits[0] <= float(plain.min()) < float(plain.max()) <= limits[1]
    for element in range(4):
        turned = data.view("test", rows, torch.full((4,), element), zeros)
        assert torch.equal(turned, torch.rot90(plain, element, (2, 3)))


MISTAKES: list[tuple[str, Any, dict[str, Any], str]] = [
    ("no such array", lambda it: {"x": it["inputs"]}, {}, "no array 'inputs'; it has: x"),
    ("no labels", lambda it: {"inputs": it["inputs"]}, {}, "no array 'labels'; it has: inputs"),
    ("objects", lambda it: it | {"labels": np.array([None] * 60)}, {}, "Python objects"),
    ("shape", lambda it: it, {"shape": [1, 8, 8]},
     "inputs are [60, 1, 6, 6]; expected [n, 1, 8, 8]"),
    ("dtype", lambda it: it | {"inputs": it["inputs"].astype(np.int32)}, {},
     "inputs are int32; allowed: uint8, floats"),
    ("nan", lambda it: it | {"inputs": np.full((60, 1, 6, 6), np.nan)}, {},
     "inputs hold NaN or infinity"),
    ("fewer labels", lambda it: it | {"labels": it["labels"][:50]}, {},
     "labels are int64 [50]; expected [60] whole numbers from 0 to 2"),
    ("float labels", lambda it: it | {"labels": it["labels"] * 0.5}, {}, "labels are float64 [60]"),
    ("labels from 1", lambda it: it | {"labels": it["labels"] + 1}, {},
     "labels are 1 to 3; expected [60] whole numbers from 0 to 2"),
    ("a class too many", lambda it: it, {"classes": 4}, "no training sample has label 3"),
    ("too few", lambda it: it, {"samples": {"train": 60, "val": 9, "test": 15}},
     "it has 60 samples, and `samples` wants 84"),
    ("lonely label", lambda it: it | {"labels": np.array([0, 1] * 29 + [1, 2])}, {},
     "cannot be drawn by label: The least populated class"),
    ("not stored", lambda it: it, {"splits": "stored"}, "no array 'train_inputs'; it has: inputs,"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "changes", "said"), [it[1:] for it in MISTAKES],
                         ids=[it[0] for it in MISTAKES])  # fmt: skip
def test_what_is_wrong_with_a_file_is_one_line(
    tmp_path: Path, make: Any, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        build(tmp_path, make(own()), **changes)
    text = str(caught.value)
    assert text.startswith("own.npz: ")
    assert said in text
    assert "\n" not in text
    assert "allow_pickle" not in text


def test_a_file_is_found_beside_the_search_space_and_every_command_names_one_that_is_not(
    tmp_path: Path,
) -> None:
    folder, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    columns = {
        name: {"dataset": "own", "split": split, "metric": "accuracy"}
        for name, split in (("turned", "test_augmented"), ("upright", "test"))
    }
    rows = {
        "CNN": {
            "model": {"small_cnn": {"width": 4, "latent": 8}}, "objective": "augmented",
            "grid": {"lr": [0.01]},
        }
    }  # fmt: skip
    space = folder / "own.yaml"
    spaces.write(
        space, datasets={"own": SPEC}, columns=columns, rows=rows, seeds={"grid": [0], "final": [0]}
    )
    run = ("run", space, "--in-process")
    wanted = folder / "own.npz"
    planned = spaces.in_this_process("plan", space, folder=elsewhere).stdout
    assert f"{wanted} is not there: put it there" in planned
    refused = spaces.in_this_process(*run, folder=elsewhere, expect=2)
    assert f"own.npz is missing: put it at {wanted}" in refused.stderr
    np.savez(wanted, **own())
    done = spaces.in_this_process(*run, folder=elsewhere)
    assert "1/1 finished, 1 run now" in done.stdout
    (record,) = (elsewhere / "workspace" / "records").glob("*.json")
    replayed = spaces.in_this_process("replay", record.stem, folder=elsewhere)
    assert "bitwise equal" in replayed.stdout
    # Another content is another dataset: what was trained on the first one stays its own.
    np.savez(wanted, **{name: it[::-1] for name, it in own().items()})
    assert "1/1 finished, 1 run now" in spaces.in_this_process(*run, folder=elsewhere).stdout
