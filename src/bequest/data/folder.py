"""How is a folder of images read?

Either DIR holds a folder for each class, or DIR/train, DIR/validation (or DIR/val) and DIR/test each do. Without these
the split follows from the bytes of the files, so that copies of a file are on the same side. Images are put on white,
cut to their middle square and reduced with antialiasing. Nothing outside DIR is read, and no image above
`MOST_PIXELS`. A file is looked at when it is drawn; one that cannot be read is named then.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from bequest.data.source import Record, Source, Split, file_digest
from bequest.data.splits import SHARES, split_groups

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # the pure decoders; no EPS, which starts a program
SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
Found = tuple[Path, str, Split | None]
MOST_PIXELS = 64_000_000  # chosen: 8,000 x 8,000, 192 MB once decoded


def open_folder(folder: Path) -> Source:
    """Open a folder of images.

    Args:
        folder: class folders with images, or split folders with class folders.

    Returns:
        The source; classes in alphabetical order. A missing validation or test part is cut from train by hash. Copies
        of test files are left out of validation, and copies of both out of train, with a warning.

    Raises:
        FileNotFoundError: if the folder is missing.
        ValueError: if it holds no class folders or no images, if a class has fewer than two images, or if a file lies
            outside of it (through a link).
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the data folder {folder} {what}")
    inner = [entry for entry in _entries(folder) if entry.is_dir()]
    parts = {entry: SPLIT_FOLDERS[entry.name] for entry in inner if entry.name in SPLIT_FOLDERS}
    found: list[Found]
    if parts and len(parts) == len(inner) and "train" in parts.values():
        found = [(path, label, split) for part, split in parts.items() for path, label in _images(folder, part)]
        found = _without_copies(folder, found)
    else:
        found = [(path, label, None) for path, label in _images(folder, folder)]
    if not found:
        raise ValueError(
            f"the data folder {folder} holds no images; expected {folder}/CLASS/IMAGE or {folder}/train/CLASS/IMAGE "
            f"with endings {', '.join(sorted(ENDINGS))}"
        )
    classes = tuple(sorted({label for _, label, _ in found}))
    _check_classes(folder, found, classes)
    targets = [classes.index(label) for _, label, _ in found]
    groups = [file_digest(path) for path, _, _ in found]
    splits = _splits(groups, targets, [split for _, _, split in found])
    records = tuple(
        Record(path.relative_to(folder).as_posix(), group, target, partial(draw_file, path), split)
        for (path, _, _), group, target, split in zip(found, groups, targets, splits, strict=True)
    )
    attribution = f"Images from the folder {folder.resolve().name}"
    return Source(
        f"folder:{folder.resolve().name}", classes, records, attribution, files=tuple(path for path, _, _ in found)
    )


def draw_file(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image, put it on white, cut out the middle square and resize it.

    Args:
        path: the file.
        size: pixels a side.

    Returns:
        uint8 [size, size, 3].

    Raises:
        ValueError: if the file is no image, is damaged or has more than `MOST_PIXELS` pixels; it names the file.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels <= MOST_PIXELS:
                image.draft("RGB", (2 * size, 2 * size))  # JPEG is decoded at a half, a quarter or an eighth if it may
                upright = ImageOps.exif_transpose(_eight_bits(image)).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}; replace or remove it") from error
    if pixels > MOST_PIXELS:
        raise ValueError(f"{path} has {pixels:,} pixels, more than {MOST_PIXELS:,}; reduce it first")
    white = Image.new("RGBA", upright.size, "white")
    white.alpha_composite(upright)
    return np.asarray(ImageOps.fit(white.convert("RGB"), (size, size), Image.Resampling.LANCZOS))


def _eight_bits(image: Image.Image) -> Image.Image:
    # PIL clips 16-bit greys at 255 instead of scaling them.
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return image


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _images(root: Path, folder: Path) -> list[tuple[Path, str]]:
    inside = root.resolve()
    found = []
    for label in _entries(folder):
        if not label.is_dir():
            continue
        for parent, folders, names in os.walk(label):
            folders.sort()
            for name in sorted(names):
                path = Path(parent) / name
                if name.startswith(".") or path.suffix.lower() not in ENDINGS or not path.is_file():
                    continue
                if not path.resolve().is_relative_to(inside):
                    raise ValueError(f"{path} is a link to {path.resolve()}, outside of {root}; copy the file instead")
                found.append((path, label.name))
    return found


def _check_classes(folder: Path, found: Sequence[Found], classes: tuple[str, ...]) -> None:
    counts = Counter(label for _, label, split in found if split in (None, "train"))
    few = [f"{label} has {counts[label]}" for label in classes if counts[label] < 2]
    if few:
        raise ValueError(
            f"every class in {folder} needs at least two images to train on: {', '.join(few)}; "
            "add images or remove the class folder"
        )
    if len(classes) < 2:
        raise ValueError(f"{folder} has a single class, {classes[0]}; classification needs two")


def _without_copies(folder: Path, found: list[Found]) -> list[Found]:
    # An image that was there while training, or while choosing, would be remembered, not recognised.
    held_out: set[str] = set()
    left_out: set[Path] = set()
    for split, where in (("test", ""), ("validation", "test"), ("train", "validation or test")):
        part = [path for path, _, side in found if side == split]
        copies = [path for path in part if file_digest(path) in held_out]
        if copies:
            warnings.warn(
                f"{len(copies)} {split} images of {folder} are left out: the same files are in {where}", stacklevel=3
            )
        left_out.update(copies)
        held_out.update(file_digest(path) for path in part)
    return [item for item in found if item[0] not in left_out]


def _splits(groups: list[str], targets: list[int], given: list[Split | None]) -> list[Split]:
    # What the folders do not give is cut by hash from the rest.
    rest = [index for index, split in enumerate(given) if split in (None, "train")]
    shares = (
        0.5,
        0.0 if "validation" in given else SHARES[1],
        0.0 if "test" in given else SHARES[2],
    )
    whole = sum(shares)
    train, validation, test = shares
    cut = split_groups(
        [groups[index] for index in rest],
        [targets[index] for index in rest],
        shares=(train / whole, validation / whole, test / whole),
    )
    sides = {index: split for index, split in enumerate(given) if split is not None}
    sides.update(zip(rest, cut, strict=True))
    return [sides[index] for index in range(len(given))]
