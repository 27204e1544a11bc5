"""How do images get into one file?

As WebP in a `data:` address, small: a page of a hundred thumbnails stays below half a megabyte.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bequest.report.contents import Picture

LARGEST = 96  # pixels along the longer side


@dataclass(frozen=True)
class Grid:
    """Examples of the domains as a table.

    Attributes:
        labels: classes, the columns.
        rows: a domain with its addresses, a list of them for each class.
    """

    labels: list[str]
    rows: list[tuple[str, list[list[str]]]]


def address(pixels: NDArray[np.uint8], *, smooth: bool = True) -> str:
    """Give an image as a `data:` address.

    Args:
        pixels: uint8 [H, W, 3].
        smooth: average neighbours where the image is made smaller; else take one of them.

    Returns:
        The address of a WebP, at most `LARGEST` pixels wide or high.

    Raises:
        ValueError: if the array has another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is a uint8 array [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=88, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def strips(pictures: Sequence[Picture]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Arrange shuffled examples as rows: a domain with its labels and addresses, all in order of appearance."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for picture in pictures:
        # smoothing would turn shuffled pixels into grey, which is not what the network saw
        rows.setdefault(picture.domain, []).append((picture.label, address(picture.pixels, smooth=False)))
    return list(rows.items())


def grid(pictures: Sequence[Picture]) -> Grid:
    """Arrange examples with a row a domain and a column a class, both in order of appearance."""
    labels = list(dict.fromkeys(picture.label for picture in pictures))
    cells: dict[str, dict[str, list[str]]] = {}
    for picture in pictures:
        row = cells.setdefault(picture.domain, {label: [] for label in labels})
        row[picture.label].append(address(picture.pixels))
    return Grid(labels, [(domain, list(row.values())) for domain, row in cells.items()])
