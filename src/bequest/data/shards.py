"""How are images read out of shards of WebDataset?

A shard is a `.tar` in which files of one example follow each other and share a name up to its first dot: `0001.jpg`
beside `0001.cls` (a number or a word) or `0001.json` (an object with the class). `classnames.txt` beside the shards, a
name a line, names the numbers. Nothing is unpacked: an image is read where it lies, and names in the archive touch no
file.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bequest.data.assemble import Example, assemble
from bequest.data.decode import ENDINGS, PLAIN, Fit, Reduction, draw_bytes
from bequest.data.listed import LABELS
from bequest.data.source import Source, Split, Target
from bequest.data.table import in_order

MOST_TEXT = 1_000_000  # chosen: bytes of a label; a longer one is something else


@dataclass
class _Sample:
    key: str
    image: tuple[int, int] | None = None  # where its bytes begin, and how many there are
    texts: dict[str, str] = field(default_factory=dict)


def open_shards(
    root: Path,
    shards: Sequence[Path],
    given: Sequence[Split | None],
    *,
    name: str,
    attribution: str,
    label: str | None = None,
    fit: Fit = "crop",
) -> Source:
    """Open shards of WebDataset.

    Args:
        root: names are relative to it.
        shards: the files, in order.
        given: side of the split of each shard.
        name: of the source.
        attribution: of the source.
        label: ending of the file, or field of the JSON, with the class; None takes `.cls`, then a field label, class,
            target or category.
        fit: see `draw_file`.

    Returns:
        The source.

    Raises:
        ValueError: if a shard is damaged, or an example has no image or no class.
    """
    names = _class_names(root)
    found, words = [], []
    for shard, side in zip(shards, given, strict=True):
        shown = shard.relative_to(root).as_posix()
        status = shard.stat()
        for sample in _samples(shard, status.st_size, status.st_mtime_ns):
            where = f"{shown}/{sample.key}"
            if sample.image is None:
                raise ValueError(f"{where} has no image; the endings that are read: {', '.join(sorted(ENDINGS))}")
            word = _label(sample, label, where)
            words.append(names[int(word)] if word.isdecimal() and int(word) < len(names) else word)
            digest = hashlib.sha256(_read(shard, *sample.image)).hexdigest()
            draw = partial(_draw, shard, sample.image, f"{shard}/{sample.key}", fit=fit)
            found.append((where, digest, side, draw))
    present = set(words)
    classes = tuple(one for one in names if one in present) if present <= set(names) else in_order(present)
    place = {word: index for index, word in enumerate(classes)}
    targets: list[Target] = [place[word] for word in words]
    examples = [
        Example(where, target, digest, side, draw)
        for (where, digest, side, draw), target in zip(found, targets, strict=True)
    ]
    return assemble(name, classes, examples, where=str(root), attribution=attribution, files=shards, recipe=fit)


@lru_cache(maxsize=4096)
def _samples(path: Path, size: int, changed: int) -> tuple[_Sample, ...]:
    samples: list[_Sample] = []
    for name, offset, length in _members(path):
        folder, _, file = name.rpartition("/")
        stem, _, ending = file.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if not stem:
            continue  # a hidden file
        if not samples or samples[-1].key != key:
            samples.append(_Sample(key))
        last = "." + ending.lower().rpartition(".")[2]
        if last in ENDINGS:
            if samples[-1].image is not None:
                raise ValueError(f"{path} has two images, or the same name twice, in {key}; one image an example")
            samples[-1].image = (offset, length)
        elif length <= MOST_TEXT:
            samples[-1].texts[ending.lower()] = _read(path, offset, length).decode("utf-8", errors="replace")
    return tuple(samples)


def _members(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():  # links and devices are passed over
                    yield member.name, member.offset_data, member.size
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a .tar: {error}; fetch it again") from None


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def _draw(
    path: Path, place: tuple[int, int], name: str, size: int, *, fit: Fit, reduction: Reduction = PLAIN
) -> NDArray[np.uint8]:
    return draw_bytes(_read(path, *place), name, size, fit=fit, reduction=reduction)


def _label(sample: _Sample, asked: str | None, where: str) -> str:
    texts = sample.texts
    for ending in (asked,) if asked else ("cls",):
        if ending in texts and texts[ending].strip():
            return texts[ending].strip()
    try:
        fields = json.loads(texts.get("json", "{}"))
    except ValueError as error:
        raise ValueError(f"{where}.json: {error}") from None
    for name in (asked,) if asked else LABELS:
        if isinstance(fields, dict) and isinstance(fields.get(name), str | int):
            return str(fields[name])
    there = ", ".join([*texts, *(fields if isinstance(fields, dict) else ())])
    raise ValueError(f"{where} has no class; say label=NAME with one of: {there or '(there is only the image)'}")


def _class_names(root: Path) -> tuple[str, ...]:
    path = root / "classnames.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
