"""The ten digits in two typefaces, turned and scaled at random; C2 exchanges the typefaces."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from equigrid.datasets.builder import Builder, Pairs, fixed_views
from equigrid.datasets.raw import RawFile, RawStore
from equigrid.datasets.store import Arrays, Progress
from equigrid.errors import InputError
from equigrid.parameters import Parameters, Size
from equigrid.symmetry import FiniteGroup

SIDE = 28
#: Height of the tallest digit in pixels, as in MNIST.
HEIGHT = 20
#: Steps of an angle and of a scale.
STEPS = 2**16

FONTS = (
    RawFile(
        "fonts/IBMPlexSans-MediumItalic.latin.ttf",
        "",
        "8f7ede17653e06fc1e719eb94ec2ee264b2b1085c0b4730a5226d2f6cb80a38a",
        origin="IBM Plex Sans Medium Italic, Latin characters, TrueType; SIL OFL 1.1",
    ),
    RawFile(
        "fonts/Bahianita-Regular.latin.ttf",
        "",
        "b97759014610fefb9ed5d125c2f6d2d8ea8e8db471a72cbd6c8be9a7d87a91f3",
        origin="Bahianita Regular, Latin characters, TrueType; SIL OFL 1.1",
    ),
)
#: Names of the two in TMNIST's table.
NAMES = ("IBMPlexSans-MediumItalic", "Bahianita-Regular")
TABLE = RawFile(
    "tmnist/TMNIST_Data.csv",
    "",
    "",
    origin="TMNIST_Data.csv of Typography-MNIST (arXiv:2202.08112)",
)


class TypefacesParameters(Parameters):
    """source: `fonts` renders them, `tmnist` reads them from TMNIST's table.

    variant: `released` has 1 to 9 and takes the nearest pixel; `paper` 0 to 9 and interpolates.
    train, val, test: pairs an epoch, all drawn anew in training.
    seed: fixes the pairs of evaluation splits.
    """

    source: Literal["fonts", "tmnist"] = "fonts"
    variant: Literal["paper", "released"] = "paper"
    train: Size = 8000
    val: Size = 2000
    test: Size = 10_000
    seed: Annotated[int, Field(ge=0)] = 0


class Typefaces(Builder):
    """The data of table 1: a pair is one digit in both typefaces, at one angle and scale.

    Array: `images` uint8 [2, digits, 28, 28]. A sample is only a number: digit, angle (±90°) and
    scale (0.8 to 1.2) come from the draw, the typeface from the element.
    """

    version = 1
    task = "reconstruction"
    metrics = ()
    validation_metrics = ()
    dataset_class = "equigrid.datasets.typefaces.resident:ResidentTypefaces"
    Parameters = TypefacesParameters
    parameters: TypefacesParameters
    pairs = Pairs((0.0, 1.0), shares_draws=True)
    input_shape = (1, SIDE, SIDE)
    least_bytes = 2 * SIDE**2

    def __init__(self, parameters: TypefacesParameters, group: FiniteGroup) -> None:
        super().__init__(parameters, group)
        if group.order != 2:
            raise ValueError(f"group {group.name}: two typefaces are exchanged by C2")
        self.digits = range(1 if parameters.variant == "released" else 0, 10)

    @property
    def train_size(self) -> int:
        return self.parameters.train

    @property
    def draws(self) -> int:
        return len(self.digits) * STEPS**2

    @property
    def raw_files(self) -> tuple[RawFile, ...]:
        return FONTS if self.parameters.source == "fonts" else (TABLE,)

    def build(self, raw: RawStore, progress: Progress) -> Arrays:
        if self.parameters.source == "fonts":
            faces = [_rendered(raw.content(font), font.name) for font in FONTS]
        else:
            faces = _tabled(raw.content(TABLE), TABLE.name)
        progress(1, 1)
        return {"images": np.stack(faces)[:, list(self.digits)]}

    def augment(self, base: Arrays, progress: Progress) -> Arrays:
        arrays: dict[str, Any] = {}
        for split, size in (("val", self.parameters.val), ("test", self.parameters.test)):
            arrays |= fixed_views(
                self.parameters.seed, split, size, self.group.order, self.draws, self.pairs
            )
        return arrays


def _rendered(data: bytes, name: str) -> NDArray[np.uint8]:
    """[10, 28, 28]: the digits of a font, the tallest HEIGHT pixels high, each centred."""
    from PIL import Image, ImageDraw, ImageFont

    def boxes(size: float) -> list[tuple[float, float, float, float]]:
        font = ImageFont.truetype(io.BytesIO(data), size)
        return [font.getbbox(digit) for digit in "0123456789"]

    try:
        tallest = max(bottom - top for _, top, _, bottom in boxes(1000))
        font = ImageFont.truetype(io.BytesIO(data), 1000 * HEIGHT / tallest)
    except OSError as error:
        raise InputError(f"{name}: cannot be read as a font: {error}") from error
    images = np.zeros((10, SIDE, SIDE), np.uint8)
    for digit in range(10):
        canvas = Image.new("L", (4 * SIDE, 4 * SIDE))
        ImageDraw.Draw(canvas).text((SIDE, SIDE), str(digit), fill=255, font=font)
        # A font's own box has the room around a digit in it: what is centred is its ink.
        ink = canvas.crop(canvas.getbbox())
        if max(ink.size) > SIDE:
            raise InputError(f"{name}: digit {digit} is {ink.size[0]} pixels wide, of {SIDE}")
        top, left = (SIDE - ink.size[1]) // 2, (SIDE - ink.size[0]) // 2
        images[digit, top : top + ink.size[1], left : left + ink.size[0]] = np.asarray(ink)
    return images


def _tabled(data: bytes, name: str) -> list[NDArray[np.uint8]]:
    """Of each typeface [10, 28, 28], from lines of its name, a digit and 784 pixels."""
    found: dict[str, dict[int, NDArray[np.uint8]]] = {face: {} for face in NAMES}
    try:
        for line in csv.reader(io.StringIO(data.decode("utf-8"))):
            if line and line[0] in found:
                pixels = np.array(line[2:], np.uint8).reshape(SIDE, SIDE)
                found[line[0]][int(line[1])] = pixels
    except ValueError as error:
        raise InputError(f"{name}: cannot be read: {error}") from error
    for face, digits in found.items():
        if lacking := [digit for digit in range(10) if digit not in digits]:
            raise InputError(f"{name}: no digit {lacking[0]} of {face}")
    return [np.stack([digits[n] for n in range(10)]) for digits in found.values()]
