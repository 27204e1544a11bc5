import base64
import io

import numpy as np
import pytest
from PIL import Image

from bequest.report.contents import Picture
from bequest.report.pictures import LARGEST, address, grid, strips


def decoded(text):
    head, _, data = text.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_address_holds_the_picture():
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:] = (250, 40, 10)
    shown = decoded(address(pixels)).astype(int)
    assert shown.shape == (32, 48, 3)
    assert np.abs(shown[:, :20] - pixels[:, :20]).max() < 12 and np.abs(shown[:, 28:] - pixels[:, 28:]).max() < 12


def test_large_pictures_become_small():
    pixels = np.random.default_rng(0).integers(0, 255, (600, 300, 3), dtype=np.uint8)
    assert decoded(address(pixels)).shape == (LARGEST, LARGEST // 2, 3)
    assert len(address(pixels)) < 15_000


@pytest.mark.parametrize("pixels", [np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)])
def test_other_arrays_are_refused(pixels):
    with pytest.raises(ValueError, match=r"uint8 array \[H, W, 3\]"):
        address(pixels)


def test_grid_keeps_order_and_empty_cells():
    pixels = np.zeros((4, 4, 3), np.uint8)
    made = grid([Picture("line", "cat", pixels), Picture("mono", "dog", pixels), Picture("line", "cat", pixels)])
    assert made.labels == ["cat", "dog"]
    assert [(domain, [len(cell) for cell in cells]) for domain, cells in made.rows] == [
        ("line", [2, 0]),
        ("mono", [0, 1]),
    ]


def test_strips_keep_order_and_the_colours_of_shuffled_pixels():
    pixels = np.where(np.indices((2 * LARGEST, 2 * LARGEST)).sum(0)[..., None] // 2 % 2, 0, 250).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=2)
    made = strips(
        [Picture("line, fixed", "8", pixels), Picture("mono", "1", pixels), Picture("line, fixed", "1", pixels)]
    )
    assert [(name, [label for label, _ in row]) for name, row in made] == [("line, fixed", ["8", "1"]), ("mono", ["1"])]
    smooth, plain = (decoded(address(pixels, smooth=smooth)).astype(int) for smooth in (True, False))
    assert np.median(np.minimum(plain, 250 - plain)) < 40 < np.median(np.minimum(smooth, 250 - smooth))
