"""The datasets of learned representations: digits in two typefaces, turned digits, CIFAR-10."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import raw_archives
import torch
from PIL import Image

from equigrid.datasets.builder import Builder
from equigrid.datasets.cifar10 import CIFAR10
from equigrid.datasets.cifar10.builder import BINARY, CLASSES, JPEG, CIFAR10Parameters
from equigrid.datasets.mnist import MNIST
from equigrid.datasets.mnist.builder import STEPS, MNISTParameters
from equigrid.datasets.raw import RawFile, RawStore
from equigrid.datasets.resident import Dataset
from equigrid.datasets.typefaces import Typefaces
from equigrid.datasets.typefaces import builder as typefaces
from equigrid.datasets.typefaces.builder import FONTS, NAMES, TypefacesParameters
from equigrid.errors import InputError, MissingRawDataError
from equigrid.symmetry import grid_action, group_by_name
from equigrid.training.torch_loop import epoch_draws

Progress = Callable[[int, int], None]


def opened(found: Builder, raw: RawStore, quiet: Progress) -> Dataset:
    base = found.build(raw, quiet)
    return found.resident({**base, **found.augment(base, quiet)}, "cpu")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> RawStore:
    """With the typefaces that matplotlib has, under the names of ours."""
    folder = tmp_path_factory.mktemp("raw")
    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    (folder / "fonts").mkdir()
    for font, name in zip(FONTS, ("DejaVuSans.ttf", "DejaVuSerif-Italic.ttf"), strict=True):
        (folder / font.name).write_bytes((own / name).read_bytes())
    return RawStore(folder)


def faces(**parameters: Any) -> Typefaces:
    sizes = {"train": 50, "val": 12, "test": 8}
    return Typefaces(TypefacesParameters(**{**sizes, **parameters}), group_by_name("C2"))


def test_digits_are_rendered_20_pixels_high_and_centred(raw: RawStore, quiet: Progress) -> None:
    images = faces().build(raw, quiet)["images"]
    assert images.shape == (2, 10, 28, 28)
    for of_face in images:
        heights = []
        for image in of_face:
            rows, columns = np.nonzero(image.max(1))[0], np.nonzero(image.max(0))[0]
            heights.append(np.ptp(rows) + 1)
            for places in (rows, columns):
                assert abs(places.min() + places.max() - 27) <= 1
        assert 17 <= max(heights) <= 21  # hinting may take a pixel or two
    assert (images[0] != images[1]).any((1, 2)).all()


def test_a_pair_is_one_digit_in_both_typefaces_at_one_angle_and_scale(
    raw: RawStore, quiet: Progress
) -> None:
    data = opened(faces(), raw, quiet)
    draws = epoch_draws(data, 0, 1)
    assert set(draws["pair"].tolist()) == {1}
    assert set(draws["augmentation"].tolist()) == {0, 1}
    assert torch.equal(draws["first draw"], draws["second draw"])
    views = data.views["val"]
    assert set(views.pair_elements.tolist()) == {1}
    assert torch.equal(views.draws, views.pair_draws)
    # No turn and no scaling: digit 3, the middle of the angles and of the scales.
    steps = typefaces.STEPS
    draw = torch.tensor([3 + 10 * (steps // 2 + steps * (steps // 2))])
    rows = torch.zeros(1, dtype=torch.int64)
    images = torch.from_numpy(faces().build(raw, quiet)["images"]) / 255
    for face in (0, 1):
        seen = data.view("train", rows, torch.tensor([face]), draw)[0, 0]
        torch.testing.assert_close(seen, images[face, 3], atol=2e-3, rtol=0)


def test_angles_and_scales_fill_their_ranges(raw: RawStore, quiet: Progress) -> None:
    """Of a bar instead of a digit: how long it is seen, and which way it lies."""
    data: Any = opened(faces(), raw, quiet)
    bar = torch.zeros(28, 28)
    bar[13:15, 4:24] = 1
    data._images = bar.expand(2, 10, 28, 28)
    draws = torch.randint(data.draws, (400,), generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(400, dtype=torch.int64)
    seen = data.view("train", zero, zero, draws)[:, 0].double()
    y, x = torch.meshgrid(*[torch.arange(28).double() - 13.5] * 2, indexing="ij")
    mass = seen.sum((1, 2))
    spread = torch.stack([(seen * a * b).sum((1, 2)) / mass for a, b in ((x, x), (x, y), (y, y))])
    angles = 0.5 * torch.atan2(-2 * spread[1], spread[0] - spread[2])
    scales = ((spread[0] + spread[2]) / ((20**2 + 2**2) / 12)).sqrt()
    assert angles.min() < -0.47 * math.pi
    assert angles.max() > 0.47 * math.pi
    assert 0.78 < scales.min() < 0.84
    assert 1.16 < scales.max() < 1.22


def test_the_authors_variant_has_nine_digits_and_no_grey_between(
    raw: RawStore, quiet: Progress
) -> None:
    data = opened(faces(variant="released"), raw, quiet)
    assert data.draws == 9 * typefaces.STEPS**2
    images = faces(variant="released").build(raw, quiet)["images"]
    assert images.shape[1] == 9
    views = data.views["test"]
    rows = torch.arange(data.size("test"))
    seen = data.view("test", rows, views.elements, views.draws)
    assert set(seen.mul(255).round().unique().tolist()) <= set(map(float, np.unique(images)))


def test_a_table_of_typefaces_is_read_too(tmp_path: Path, quiet: Progress) -> None:
    images = raw_archives.put_table(tmp_path)
    found = faces(source="tmnist").build(RawStore(tmp_path), quiet)["images"]
    np.testing.assert_array_equal(found, images)
    raw_archives.put_table(tmp_path, lines=19)
    with pytest.raises(InputError, match=f"no digit 9 of {NAMES[1]}"):
        faces(source="tmnist").build(RawStore(tmp_path), quiet)


def test_a_missing_typeface_says_what_to_put_where(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(MissingRawDataError, match=r"put it at .*IBMPlexSans.*SIL OFL"):
        faces().build(RawStore(tmp_path), quiet)


def test_two_typefaces_are_exchanged_by_two_elements() -> None:
    with pytest.raises(ValueError, match="two typefaces are exchanged by C2"):
        Typefaces(TypefacesParameters(), group_by_name("C4"))


def turned(group: str, **parameters: Any) -> MNIST:
    sizes = {"source": "digits", "train": 200, "val": 40}
    return MNIST(MNISTParameters(**{**sizes, **parameters}), group_by_name(group))


def test_pairs_of_digits_are_mirrored_or_turned_half_of_the_time_each(
    tmp_path: Path, quiet: Progress
) -> None:
    found = turned("D3", train=1000)
    assert found.pairs.weights == (0, 0.5, 0.5, 1, 0, 0)
    data = opened(found, RawStore(tmp_path), quiet)
    draws = epoch_draws(data, 0, 1)
    assert set(draws["augmentation"].tolist()) == {0}
    counts = Counter(draws["pair"].tolist())
    assert set(counts) == {1, 2, 3}
    assert abs(counts[3] - 500) < 60
    assert set(data.views["val"].elements.tolist()) == {0}
    assert set(data.views["test"].pair_elements.tolist()) == {1, 2, 3}


def test_the_group_acts_on_the_turned_digit(tmp_path: Path, quiet: Progress) -> None:
    """D4 acts exactly on pixels, so a view is that action on the view at the identity."""
    data = opened(turned("D4"), RawStore(tmp_path), quiet)
    action = torch.from_numpy(grid_action(data.group, (8, 8)))
    rows, draws = (
        torch.arange(30),
        torch.randint(data.draws, (30,), generator=torch.Generator().manual_seed(1)),
    )
    first = data.view("train", rows, torch.zeros_like(rows), draws).flatten(1)
    for element in range(data.group.order):
        seen = data.view("train", rows, torch.full_like(rows, element), draws).flatten(1)
        torch.testing.assert_close(seen, first[:, action[element]], atol=1e-4, rtol=0)


def test_a_draw_mirrors_first_and_then_turns(tmp_path: Path, quiet: Progress) -> None:
    data = opened(turned("D3"), RawStore(tmp_path), quiet)
    rows, zero = torch.arange(20), torch.zeros(20, dtype=torch.int64)
    plain = data.plain("train", rows)
    quarter = 2 * (STEPS // 4)
    for draw, expected in (
        (0, plain),
        (1, plain.flip(-1)),
        (quarter, plain.rot90(1, (2, 3))),
        (quarter + 1, plain.flip(-1).rot90(1, (2, 3))),
    ):
        seen = data.view("train", rows, zero, zero + draw)
        torch.testing.assert_close(seen, expected, atol=1e-4, rtol=0)
    unturned = opened(turned("D3", turned=False), RawStore(tmp_path), quiet)
    assert unturned.draws == 2


@pytest.fixture
def few() -> Iterator[None]:
    with raw_archives.few_images():
        yield


def cifar(**parameters: Any) -> CIFAR10:
    return CIFAR10(CIFAR10Parameters(**{"train": 30, "val": 10, **parameters}), group_by_name("C4"))


def test_the_official_batches_are_read(few: None, tmp_path: Path, quiet: Progress) -> None:
    images, labels = raw_archives.put_binary(tmp_path)
    found = cifar().build(RawStore(tmp_path), quiet)
    np.testing.assert_array_equal(found["test/images"], images[40:])
    np.testing.assert_array_equal(found["test/labels"], labels[40:])
    both = np.concatenate([found["train/images"], found["val/images"]])
    assert {it.tobytes() for it in both} == {it.tobytes() for it in images[:40]}
    data = opened(cifar(), RawStore(tmp_path), quiet)
    assert data.input_shape == (3, 32, 32)
    assert set(epoch_draws(data, 0, 1)["pair"].tolist()) == {1, 2, 3}
    seen = data.plain("test", torch.arange(20))
    torch.testing.assert_close(seen, torch.from_numpy(images[40:]) / 127.5 - 1)


def test_jpeg_images_are_read_and_are_nearly_the_same(
    few: None, tmp_path: Path, quiet: Progress
) -> None:
    images, labels = raw_archives.put_binary(tmp_path)
    members = {}
    for n, (image, label) in enumerate(zip(images, labels, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG", quality=95)
        split = "train" if n < 40 else "test"
        members[f"cifar10/{split}/{CLASSES[label]}/{n:04}.jpg"] = buffer.getvalue()
    raw_archives.archive(tmp_path / JPEG.name, "w:xz", members)
    found = cifar(source="jpeg").build(RawStore(tmp_path), quiet)
    order = sorted(range(40, 60), key=lambda n: (CLASSES[labels[n]], n))
    np.testing.assert_array_equal(found["test/labels"], labels[order])
    assert abs(found["test/images"].astype(int) - images[order].astype(int)).mean() < 8


def test_an_archive_that_lacks_images_is_refused(
    few: None, tmp_path: Path, quiet: Progress
) -> None:
    raw_archives.put_binary(tmp_path, batches=4)
    with pytest.raises(InputError, match="32 images of the train split, expected 40"):
        cifar().build(RawStore(tmp_path), quiet)
    (tmp_path / BINARY.name).write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read as an archive"):
        cifar().build(RawStore(tmp_path), quiet)


def test_more_images_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="train and val are 50001 of 50000 images"):
        CIFAR10(CIFAR10Parameters(train=50_000, val=1), group_by_name("C4"))


def test_a_file_kept_packed_has_the_checksum_of_the_file(tmp_path: Path) -> None:
    import hashlib

    raw_archives.put_binary(tmp_path)
    packed = (tmp_path / BINARY.name).read_bytes()
    digest = f"md5:{hashlib.md5(packed, usedforsecurity=False).hexdigest()}"
    file = RawFile(BINARY.name, BINARY.url, digest, packed=True)
    assert RawStore(tmp_path).content(file) == packed
    assert RawStore(tmp_path).fingerprint(file) == digest


def test_more_digits_than_there_are_is_one_line(tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(InputError, match="train and val are 1230 of 1200 digits"):
        turned("D3", train=1190).build(RawStore(tmp_path), quiet)
