"""How does the content of an image file become pixels?

Upright by its EXIF orientation, on white, 16 bits scaled to 8, the first picture of an animation, then either cut to
its middle square or padded to a square, and reduced with antialiasing. Only pure decoders are asked, no file is decoded
above `MOST_PIXELS`, and whatever goes wrong is one ValueError that names the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bequest.data.source import Interpolation

Fit = Literal["crop", "pad"]

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # the pure decoders; no EPS, which starts a program
MOST_PIXELS = 64_000_000  # chosen: 8,000 x 8,000, 192 MB once decoded
PADDING = (128, 128, 128)  # the paper's border of X-rays


@dataclass(frozen=True)
class Reduction:
    """How pixels are reduced to the size that is asked for.

    Attributes:
        interpolation: the filter, with antialiasing.
        crop: share of the middle square's sides that is kept, above 0 and at most 1, as published weights of models
            want it; without a say where the whole image is kept ("pad").
    """

    interpolation: Interpolation = "lanczos"
    crop: float = 1.0


PLAIN = Reduction()


def draw_file(path: Path, size: int, *, fit: Fit = "crop", reduction: Reduction = PLAIN) -> NDArray[np.uint8]:
    """Read an image from a file.

    Args:
        path: the file.
        size: pixels a side.
        fit: "crop" cuts out the middle square; "pad" keeps the whole image at the top left, with grey below or beside.
        reduction: the filter, and what is kept of the middle square.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: if the file is no image, is damaged, has floating-point pixels or more than `MOST_PIXELS`; it
            names the file.
    """
    return _draw(path, str(path), size, fit, reduction)


def draw_bytes(
    content: bytes, name: str, size: int, *, fit: Fit = "crop", reduction: Reduction = PLAIN
) -> NDArray[np.uint8]:
    """Read an image from the content of a file.

    Args:
        content: what the file holds.
        name: what the image is called in errors.
        size: pixels a side.
        fit: see `draw_file`.
        reduction: see `draw_file`.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: as `draw_file`.
    """
    return _draw(BytesIO(content), name, size, fit, reduction)


def _draw(file: Path | BytesIO, name: str, size: int, fit: Fit, reduction: Reduction) -> NDArray[np.uint8]:
    try:
        with Image.open(file, formats=FORMATS) as image:
            pixels, mode = image.width * image.height, image.mode
            if pixels <= MOST_PIXELS and mode != "F":
                least = round(2 * size / reduction.crop)
                image.draft("RGB", (least, least))  # JPEG is decoded at a half, a quarter or an eighth if it may
                upright = ImageOps.exif_transpose(_eight_bits(image))
                # Most images are opaque, and then the way over white is half of the time.
                upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except Exception as error:  # decoders raise anything at all on damaged bytes
        why = "the file is empty" if _is_empty(file) else str(error) or type(error).__name__
        why = why.replace(repr(file), "it")  # the address of a buffer says nothing
        raise ValueError(f"{name} cannot be read as an image: {why}; replace or remove it") from error
    if pixels > MOST_PIXELS:
        raise ValueError(f"{name} has {pixels:,} pixels, more than {MOST_PIXELS:,}; reduce it first")
    if mode == "F":
        raise ValueError(f"{name} has floating-point pixels of unknown range; save it with 8 or 16 bits")
    if upright.mode == "RGBA":
        white = Image.new("RGBA", upright.size, "white")
        white.alpha_composite(upright)
        upright = white.convert("RGB")
    used = Image.Resampling[reduction.interpolation.upper()]
    if fit == "pad":
        return np.asarray(ImageOps.pad(upright, (size, size), used, PADDING, centering=(0, 0)))
    return np.asarray(ImageOps.fit(upright, (size, size), used, bleed=(1 - reduction.crop) / 2))


def _is_empty(file: Path | BytesIO) -> bool:
    if isinstance(file, Path):
        return file.is_file() and file.stat().st_size == 0
    return not file.getbuffer().nbytes


def _eight_bits(image: Image.Image) -> Image.Image:
    # PIL clips 16-bit greys at 255 instead of scaling them.
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return image
