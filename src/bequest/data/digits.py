"""Where do small sets of digits come from that every machine has?

`digits` are scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, enlarged. `fonts` are digits set in the fonts that
matplotlib ships (DejaVu, STIX, Computer Modern), each several times with a jitter that follows from its name. Fonts to
digits is a transfer with a sure gain at one shot a class and none at twenty: a fixture for tests, and a real door.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bequest.data.source import Record, Source
from bequest.data.splits import split_groups

DIGITS = tuple("0123456789")
VARIANTS = 4  # chosen: 10 digits x 19 fonts x 4 is about as many images as the handwritten digits have in train
PATTERNS = ("DejaVu*.ttf", "STIXGeneral*.ttf", "cm[brst]*10.ttf")
WITHOUT_DIGITS = ("DejaVuSansDisplay.ttf", "DejaVuSerifDisplay.ttf", "cmsy10.ttf")


def open_digits() -> Source:
    """Open scikit-learn's handwritten digits, black on white.

    Returns:
        The source; each image is a group of its own.
    """
    path = _installed("sklearn") / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    pixels = np.round(255 - table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
    targets = [int(target) for target in table[:, -1]]
    names = [f"digit-{index:04d}" for index in range(len(targets))]
    splits = split_groups(names, targets)
    records = tuple(
        Record(name, name, target, partial(_enlarge, image), split)
        for name, target, image, split in zip(names, targets, pixels, splits, strict=True)
    )
    attribution = (
        "Optical recognition of handwritten digits, E. Alpaydin and C. Kaynak, UCI, CC BY 4.0; by scikit-learn"
    )
    return Source("digits", DIGITS, records, attribution, files=(path,))


def open_fonts() -> Source:
    """Open digits set in the fonts that matplotlib ships, black on white.

    Returns:
        The source; a font file is a group, so a font seen in training is never tested on.
    """
    folder = _installed("matplotlib") / "mpl-data" / "fonts" / "ttf"
    fonts = [path for pattern in PATTERNS for path in sorted(folder.glob(pattern)) if path.name not in WITHOUT_DIGITS]
    splits = split_groups([font.name for font in fonts], [0] * len(fonts))
    records = tuple(
        Record(name, font.name, target, partial(_set_digit, font, digit, name), split)
        for font, split in zip(fonts, splits, strict=True)
        for target, digit in enumerate(DIGITS)
        for variant in range(VARIANTS)
        for name in [f"{font.stem}-{digit}-{variant}"]
    )
    attribution = "DejaVu, STIX and Computer Modern fonts, as shipped with matplotlib (see its LICENSE folder)"
    return Source("fonts", DIGITS, records, attribution, files=tuple(fonts))


def _enlarge(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    grey = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(grey.convert("RGB"))


def _set_digit(font: Path, digit: str, name: str, size: int) -> NDArray[np.uint8]:
    # Drawn at four times the size, turned, then reduced: the jitter needs fractions of a pixel.
    jitter = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    height, angle = jitter.uniform(0.65, 0.95), jitter.uniform(-12, 12)
    right, down = jitter.uniform(-0.06, 0.06, 2)
    canvas = 4 * size
    image = Image.new("L", (canvas, canvas), 255)
    middle = (canvas * (0.5 + right), canvas * (0.5 + down))
    face = ImageFont.truetype(str(font), round(canvas * height), layout_engine=ImageFont.Layout.BASIC)
    left, top, end, bottom = face.getbbox(digit)
    origin = (middle[0] - (left + end) / 2, middle[1] - (top + bottom) / 2)
    ImageDraw.Draw(image).text(origin, digit, font=face, fill=0)
    turned = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)
    return np.asarray(turned.resize((size, size), Image.Resampling.BOX).convert("RGB"))


def _installed(package: str) -> Path:
    found = find_spec(package)  # without importing it: only its files are wanted
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f'the digits need {package}: pip install "bequest[dev]"', name=package)
    return Path(found.submodule_search_locations[0])
