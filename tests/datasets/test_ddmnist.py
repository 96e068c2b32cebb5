"""Double digits: the pairs that are drawn, the canvas, and the two digits' own elements."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from equigrid.datasets.ddmnist.builder import DDMNIST, DDMNISTParameters
from equigrid.datasets.digits import Digits
from equigrid.datasets.raw import RawStore
from equigrid.datasets.recipe import builder_of, group_named, recipe_of
from equigrid.errors import InputError
from equigrid.symmetry import group_by_name
from equigrid.trial import data_key

SPLITS = ("train", "val", "test")
MEAN, STD = 0.06535, 0.5551

#: SHA-256 over the arrays' names and bytes; raise DDMNIST.version when one changes.
GOLDEN_DIGITS = "610ca3952ffdea440afddf4338789dbc11b81d94268c0dc28181d17fd5d5e8e3"
GOLDEN_VIEWS = "542ebfb5ab1bbeb70d8b25b4d44ea040bc2d9f74b51d4231ded329b269b5965e"
GOLDEN_MNIST = "9797c1ba15d5467475210ba1ac9ac086618c3fc85acd56f085b715450ca6d69e"


@pytest.fixture(scope="module")
def base(digits_builder, quiet, tmp_path_factory):
    """`base(**parameters)`: the base arrays from scikit-learn's digits."""
    raw = RawStore(tmp_path_factory.mktemp("raw"))
    return lambda **parameters: digits_builder(**parameters).build(raw, quiet)


def _fingerprint(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _same(left, right):
    return _fingerprint(left) == _fingerprint(right)


def _originals():
    """The bytes of every digit of scikit-learn's → its numbers in the source's order."""
    numbers: dict[bytes, set[int]] = {}
    for number, image in enumerate(np.round(load_digits().images * 255 / 16).astype(np.uint8)):
        numbers.setdefault(image.tobytes(), set()).add(number)
    return numbers


def test_every_label_has_its_count_and_its_digits(base):
    """label = n·left + right; train digits come from the train split, the others from the test."""
    counts = {"train": 7, "val": 3, "test": 4}
    arrays = base(digits=3, per_label=counts)
    originals, target = _originals(), load_digits().target
    for split in SPLITS:
        labels, images = arrays[f"{split}/labels"], arrays[f"{split}/digits"]
        assert np.bincount(labels).tolist() == [counts[split]] * 9
        assert images.shape == (9 * counts[split], 2, 8, 8)
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        for label, pair in zip(labels, images, strict=True):
            numbers = [originals[digit.tobytes()] for digit in pair]
            shown = [{int(target[number]) for number in which} for which in numbers]
            assert shown == [{label // 3}, {label % 3}]
            assert all(all((n < 1200) == (split == "train") for n in which) for which in numbers)


def test_digits_are_drawn_with_replacement_and_all_of_them(base):
    """1000 draws a slot from about 120 images: nearly every one occurs, many more than once."""
    arrays = base(digits=2, per_label={"train": 500, "val": 1, "test": 1})
    left = arrays["train/digits"][arrays["train/labels"] < 2, 0]
    different = len(np.unique(left.reshape(len(left), -1), axis=0))
    zeros = (load_digits().target[:1200] == 0).sum()
    assert 0.95 * zeros < different <= zeros


@pytest.mark.parametrize("option", ["shared", "disjoint"])
def test_validation_and_test_digits_are_disjoint_on_demand(base, option):
    arrays = base(
        digits=2, evaluation_digits=option, per_label={"train": 1, "val": 100, "test": 100}
    )
    val, test = (
        {image.tobytes() for image in arrays[f"{split}/digits"].reshape(-1, 8, 8)}
        for split in ("val", "test")
    )
    assert bool(val & test) == (option == "shared")


def test_pairs_are_determined_by_the_seed(base):
    assert _same(base(seed=3), base(seed=3))
    assert not _same(base(seed=3), base(seed=4))


def test_a_split_does_not_depend_on_the_size_of_the_others(base):
    """Each split has a random stream of its own."""
    few = base(per_label={"train": 5, "val": 1, "test": 5})
    many = base(per_label={"train": 5, "val": 9, "test": 5})
    for split in ("train", "test"):
        np.testing.assert_array_equal(few[f"{split}/digits"], many[f"{split}/digits"])


def test_the_arrays_are_the_golden_ones(base, digits_builder, quiet):
    """A refactoring must not change anybody's data silently: pairs, and evaluation views."""
    parameters = {"digits": 5, "per_label": {"train": 80, "val": 20, "test": 40}, "seed": 0}
    arrays = base(**parameters)
    assert _fingerprint(arrays) == GOLDEN_DIGITS
    cache = digits_builder("C4xC4", **parameters).augment(arrays, quiet)
    assert _fingerprint(cache) == GOLDEN_VIEWS


def test_the_published_data_on_mnist(quiet, caplog):
    """10 000 / 2 000 / 5 000 pairs, rows 14–41, left columns 0–27, right 28–55; golden bytes."""
    folder = os.environ.get("EQUIGRID_RAW_DIR")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("EQUIGRID_RAW_DIR names no folder with MNIST in it (mnist/)")
    builder = DDMNIST(DDMNISTParameters(), group_named("D1xD1"))
    arrays = builder.build(RawStore(Path(folder)), quiet)
    assert [len(arrays[f"{split}/labels"]) for split in SPLITS] == [10_000, 2_000, 5_000]
    assert _fingerprint(arrays) == GOLDEN_MNIST
    assert "not the official" not in caplog.text
    dataset = builder.resident({**arrays, **builder.augment(arrays, quiet)}, "cpu")
    rows = torch.arange(0, 2000, 7)
    canvas = dataset.plain("val", rows)
    assert canvas.shape == (len(rows), 1, 56, 56)
    values = (arrays["val/digits"][rows] / 255 - MEAN) / STD
    np.testing.assert_allclose(canvas[:, 0, 14:42, :28], values[:, 0], atol=1e-6)
    np.testing.assert_allclose(canvas[:, 0, 14:42, 28:], values[:, 1], atol=1e-6)
    for outside in (canvas[:, :, :14], canvas[:, :, 42:]):
        np.testing.assert_allclose(outside, -MEAN / STD, atol=1e-6)


def _halves(canvas):
    """[b, 1, 2s, 2s] → the middle rows' two halves [b, 2, s, s]."""
    side = canvas.shape[-1] // 2
    middle = canvas[:, 0, side // 2 : side // 2 + side]
    return torch.stack([middle[..., :side], middle[..., side:]], dim=1)


def test_digits_stand_on_the_middle_rows_of_a_normalised_canvas(double_digits, base):
    """Rows side/2 …, left and right half of the columns; (v/255 − mean)/std everywhere."""
    dataset, arrays = double_digits(), base()
    rows = torch.tensor([5, 0, 17, 17])
    canvas = dataset.plain("train", rows)
    assert dataset.input_shape == (1, 16, 16)
    assert canvas.shape == (4, 1, 16, 16)
    expected = np.zeros((4, 16, 16))
    expected[:, 4:12, :8] = arrays["train/digits"][rows, 0]
    expected[:, 4:12, 8:] = arrays["train/digits"][rows, 1]
    np.testing.assert_allclose(canvas[:, 0], (expected / 255 - MEAN) / STD, atol=1e-6)
    assert dataset.targets("train", rows).tolist() == arrays["train/labels"][rows].tolist()


def _exact(digit, element, rotations):
    flip, k = divmod(int(element), rotations)
    digit = digit.flip(-1) if flip else digit
    return torch.rot90(digit, k * 4 // rotations, (-2, -1))


@pytest.mark.parametrize(("name", "rotations"), [("D1", 1), ("C4", 4), ("D4", 4)])
def test_an_exact_view_moves_each_digit_on_its_own(double_digits, name, rotations):
    """Element g·|H| + h of H × H is g on the left digit and h on the right, pixel by pixel."""
    dataset = double_digits(f"{name}x{name}")
    order = group_by_name(name).order
    elements = torch.arange(order**2)
    rows = elements % 20
    plain = _halves(dataset.plain("test", rows))
    seen = _halves(dataset.view("test", rows, elements, torch.zeros_like(rows)))
    for n, element in enumerate(elements.tolist()):
        for slot, part in enumerate(divmod(element, order)):
            torch.testing.assert_close(
                seen[n, slot], _exact(plain[n, slot], part, rotations), rtol=0, atol=0
            )
    assert dataset.draws == 1


@pytest.mark.parametrize("name", ["C4", "D4"])
def test_a_view_at_ga_is_g_on_the_view_at_a(double_digits, name):
    """view(g·a) = g·view(a), so x2 = (ga)·x is g·x1 (experiments, section 1)."""
    dataset = double_digits(f"{name}x{name}")
    group, order = dataset.group, group_by_name(name).order
    random = torch.Generator().manual_seed(0)
    a, g = (torch.randint(group.order, (40,), generator=random) for _ in range(2))
    rows, none = torch.arange(40) % dataset.size("train"), torch.zeros(40, dtype=torch.int64)
    x1 = _halves(dataset.view("train", rows, a, none))
    product = torch.from_numpy(group.table.copy())[g, a]
    x2 = _halves(dataset.view("train", rows, product, none))
    for n in range(40):
        for slot, part in enumerate(divmod(int(g[n]), order)):
            torch.testing.assert_close(x2[n, slot], _exact(x1[n, slot], part, 4), rtol=0, atol=0)


def test_a_resampled_view_is_the_cached_element_and_draw_of_each_digit(digits_builder, base, quiet):
    """Both digits have an element and a draw of their own; a pair has R² draws."""
    builder = digits_builder("C4xC4", artefacts={"draws": 3})
    arrays = base()
    cache = builder.augment(arrays, quiet)
    dataset = builder.resident({**arrays, **cache}, "cpu")
    assert dataset.draws == 9
    orbit = cache["train/orbit"]
    assert orbit.shape == (48, 2, 4, 3, 8, 8)
    element, draw, row = 4 * 3 + 1, 3 * 2 + 0, 11
    seen = dataset.view("train", *(torch.tensor([value]) for value in (row, element, draw)))
    expected = np.stack([orbit[row, 0, 3, 2], orbit[row, 1, 1, 0]])
    np.testing.assert_allclose(_halves(seen)[0], (expected / 255 - MEAN) / STD, atol=1e-6)
    # Independent draws: no two of the three agree.
    assert len(np.unique(orbit[row, 0, 3].reshape(3, -1), axis=0)) == 3
    # The plain view has no artefacts.
    plain = _halves(dataset.plain("train", torch.tensor([row])))[0]
    np.testing.assert_allclose(plain, (arrays["train/digits"][row] / 255 - MEAN) / STD, atol=1e-6)


def test_released_artefacts_differ_from_the_papers(digits_builder, base, quiet):
    """The paper's digits end where they began at element 0, the released ones do not."""
    arrays = base()
    plain = arrays["train/digits"].reshape(96, -1)

    def likeness(variant):
        builder = digits_builder("C4xC4", artefacts={"draws": 1, "variant": variant})
        orbit = builder.augment(arrays, quiet)["train/orbit"][:, :, 0].reshape(96, -1)
        return np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(plain, orbit, strict=True)])

    assert likeness("paper") > 0.8
    assert likeness("released") < 0.5


@pytest.mark.parametrize("artefacts", [None, {"draws": 2}])
def test_evaluation_splits_have_fixed_elements_and_draws(double_digits, artefacts):
    """Fixed by the data seed alone, within bounds, different in validation and test."""
    first, again, other = (
        double_digits("C4xC4", artefacts=artefacts, seed=seed) for seed in (0, 0, 1)
    )
    assert set(first.views) == {"val", "test_augmented"}
    for split, size in (("val", 24), ("test_augmented", 20)):
        views = [vars(dataset.views[split]) for dataset in (first, again, other)]
        for name, bound in (("elements", 16), ("draws", first.draws)):
            for each in (name, f"pair_{name}"):
                values = views[0][each]
                assert len(values) == size
                assert 0 <= values.min() <= values.max() < bound
                assert torch.equal(values, views[1][each])
                if bound > 1:
                    assert not torch.equal(values, views[2][each])
        assert not torch.equal(views[0]["elements"], views[0]["pair_elements"])
    assert not torch.equal(first.views["val"].elements[:20], first.views["test_augmented"].elements)


@pytest.mark.parametrize(
    ("group", "parameters", "reason"),
    [
        ("C4", {}, "need a product H x H"),
        ("C4xD1", {}, "need a product H x H"),
        ("C4xC4xC4", {}, "need a product H x H"),
        ("C3xC3", {}, "not exact on pixels: set artefacts"),
    ],
)
def test_groups_that_do_not_fit_two_digits_are_refused(digits_builder, group, parameters, reason):
    with pytest.raises(ValueError, match=f"group {group}.*{reason}"):
        digits_builder(group, **parameters)


def test_a_recipe_names_all_that_determines_the_arrays_and_leads_back(digits_builder, tmp_path):
    """All defaults are written out; the builder made from a recipe has the same recipe."""
    raw = RawStore(tmp_path)
    recipe = recipe_of("ddmnist", "C4xC4", digits_builder("C4xC4", artefacts={}), raw)
    assert recipe["parameters"] == {
        "source": "digits",
        "digits": 2,
        "per_label": {"train": 12, "val": 6, "test": 5},
        "artefacts": {"draws": 4, "variant": "paper"},
        "evaluation_digits": "shared",
        "mean": MEAN,
        "std": STD,
        "seed": 0,
    }
    assert list(recipe["raw"]) == ["sklearn/digits.csv"]
    back = recipe_of("ddmnist", "C4xC4", builder_of(recipe), raw)
    assert data_key(back) == data_key(recipe)
    other = recipe_of("ddmnist", "C4xC4", digits_builder("C4xC4", artefacts={"draws": 5}), raw)
    assert data_key(other) != data_key(recipe)


def test_a_source_that_lacks_a_digit_is_refused(digits_builder, quiet):
    """One line, and so a labelled gap; not a traceback."""
    builder = digits_builder()
    images, labels = np.zeros((9, 8, 8), np.uint8), np.zeros(9, np.int64)
    builder.source = SimpleNamespace(load=lambda raw: Digits(images, labels, images, labels))
    with pytest.raises(InputError, match="no digit 1 among the train digits"):
        builder.build(RawStore(), quiet)
