"""What is a set of images, or of texts, before it is packed?

A source is a list of records. A record knows its name, class, group and side of the split, and how to draw itself at
any size; nothing is drawn before somebody asks. A record of a text has the text instead, as it stands in its file: no
tokens, no vocabulary, for these are the model's. A group holds what must not be torn apart: the variants of one emoji,
or files with the same bytes. `content` says what a source is by content, so that a study can tell whether it changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
Draw = Callable[..., NDArray[np.uint8]]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Target = int | tuple[float | None, ...]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Record:
    """One image that can be drawn, or one text.

    Attributes:
        name: unique within its source.
        group: what it must share a side of the split with.
        target: index of its class; or, with several labels an image, 0 (absent), 1 (present) or None (missing) for
            each class.
        draw: gives the image as uint8 [size, size, 3] for a size in pixels; where it reduces pixels it takes a
            `reduction` (see `decode`). Safe to call from threads. None for a text.
        split: "train", "validation" or "test".
        text: what there is to read; None for an image.
    """

    name: str
    group: str
    target: Target
    draw: Draw | None
    split: Split
    text: str | None = None


@dataclass(frozen=True)
class Source:
    """A set of images, or of texts, with classes and splits.

    Attributes:
        name: the door it came through, as "emoji:line".
        classes: names of the classes; a record's target is an index into them, or a number for each. None for texts
            that have no classes: what is to be said are the texts themselves.
        records: the images in a fixed order.
        attribution: who made the pictures, and the licence.
        files: every file that is read to draw the images, in a fixed order.
        recipe: how images come out of the files, for sources that draw the same files in different ways.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[Record, ...]
    attribution: str
    files: tuple[Path, ...] = ()
    recipe: str = ""

    @cached_property  # asked for each of ten thousand runs, of a hundred thousand records
    def multilabel(self) -> bool:
        """Whether an image may have several labels, or none."""
        return any(isinstance(record.target, tuple) for record in self.records)

    @cached_property
    def texts(self) -> bool:
        """Whether the records are texts, not images."""
        return any(record.text is not None for record in self.records)


def content(source: Source) -> str:
    """Identify a source by what it holds, not by where it lies.

    Args:
        source: any source.

    Returns:
        SHA-256 as 64 hexadecimal digits over the bytes of its files, its recipe, classes, names, groups, targets and
        splits. Paths and the name of the source do not enter.
    """
    digest = hashlib.sha256()
    for path in source.files:
        digest.update(bytes.fromhex(file_digest(path)))
    rows = [[record.name, record.group, record.target, record.split] for record in source.records]
    digest.update(json.dumps([source.recipe, source.classes, rows], ensure_ascii=True).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file; read again only when its size or time of change differs."""
    status = path.stat()
    return _file_digest(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1_000_000)
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
