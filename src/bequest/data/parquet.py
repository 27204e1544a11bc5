"""How are images read out of shards of Parquet?

One column holds the bytes of image files, alone or as `{bytes, path}`, another the class: a number with names beside it
(in the metadata of the shard or in the README's header), a word, or a list of them for several labels an image. Rows
are read a block at a time; the shards never lie in memory whole.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from bequest.data.assemble import Example, assemble
from bequest.data.decode import PLAIN, Fit, Reduction, draw_bytes
from bequest.data.inside import check_inside, shortened
from bequest.data.listed import LABELS
from bequest.data.source import Source, Split, Target
from bequest.data.table import in_order

MOST_TEXT = 1_000_000  # chosen: characters of the README that are looked at
BLOCK = 256  # chosen: rows that are read at once, 40 MB of images of 150 kB
_BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)  # what polars says of damaged bytes
_READING = Lock()  # threads that draw neighbours share a block instead of reading it twice


def open_parquet(
    root: Path,
    shards: Sequence[Path],
    given: Sequence[Split | None],
    *,
    name: str,
    attribution: str,
    image: str | None = None,
    label: str | None = None,
    fit: Fit = "crop",
    bound: Path | None = None,
) -> Source:
    """Open shards of Parquet.

    Args:
        root: names are relative to it.
        shards: the files, in order.
        given: side of the split of each shard.
        name: of the source.
        attribution: of the source.
        image: column of the images; None takes the only one that holds bytes.
        label: column of the classes; None looks for label, class, target, category.
        fit: see `draw_file`.
        bound: see `inside`.

    Returns:
        The source. Rows with the class -1, which is how a hidden label is written, are left out with a warning.

    Raises:
        ValueError: if a shard is damaged, a column is not there, or a class is missing.
    """
    schema = _schema(shards[0])
    images, labels = _image_column(shards[0], schema, image), _label_column(shards[0], schema, label)
    names, teller = _class_names(root, bound or root, shards[0], labels)
    found: list[Example] = []
    words: list[list[str]] = []
    hidden = 0
    several = isinstance(schema[labels], pl.List | pl.Array)
    for shard, side in zip(shards, given, strict=True):
        if _schema(shard) != schema:
            raise ValueError(f"{shard} has other columns than {shards[0].name}; say config=NAME for one of them")
        shown = shard.relative_to(root).as_posix()
        digests = _digests(shard, images, shard.stat().st_size, shard.stat().st_mtime_ns)
        for row, (digest, value) in enumerate(zip(digests, _column(shard, labels), strict=True)):
            if value == -1:
                hidden += 1
                continue
            values = list(value or ()) if several else [value]
            words.append([_word(one, names, f"{shard}#{row}", teller) for one in values])
            draw = partial(_draw_row, shard, images, row, f"{shard}#{row}", fit=fit)
            found.append(Example(f"{shown}#{row}", 0, digest, side, draw))
    if hidden:
        warnings.warn(f"{hidden:,} rows of {root} have no public label (-1) and are left out", stacklevel=3)
    present = {word for row in words for word in row}
    classes = tuple(word for word in names if word in present) if names else in_order(present)
    place = {word: index for index, word in enumerate(classes)}
    targets: list[Target] = [
        tuple(float(word in row) for word in classes) if several else place[row[0]] for row in words
    ]
    examples = [replace(one, target=target) for one, target in zip(found, targets, strict=True)]
    return assemble(name, classes, examples, where=str(root), attribution=attribution, files=shards, recipe=fit)


def _draw_row(
    path: Path, column: str, row: int, name: str, size: int, *, fit: Fit, reduction: Reduction = PLAIN
) -> NDArray[np.uint8]:
    with _READING:
        content = _block(path, column, row // BLOCK)[row % BLOCK]
    if content is None:
        raise ValueError(f"{name} cannot be read as an image: the row has no bytes; replace or remove it")
    return draw_bytes(content, name, size, fit=fit, reduction=reduction)


@lru_cache(maxsize=4)
def _block(path: Path, column: str, number: int) -> list[bytes | None]:
    bytes_of = pl.col(column)
    if isinstance(_schema(path)[column], pl.Struct):
        bytes_of = bytes_of.struct.field("bytes")
    try:
        frame = pl.scan_parquet(path, glob=False).select(bytes_of.alias("bytes")).slice(number * BLOCK, BLOCK).collect()
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}; fetch it again") from None
    return frame["bytes"].to_list()


@lru_cache(maxsize=4096)
def _digests(path: Path, column: str, size: int, changed: int) -> tuple[str, ...]:
    found: list[str] = []
    number = 0
    with _READING:
        while block := _block(path, column, number):
            # A row without bytes is no copy of another such row.
            found += [
                hashlib.sha256(f"{path.name}#{len(found) + at}".encode() if one is None else one).hexdigest()
                for at, one in enumerate(block)
            ]
            number += 1
    return tuple(found)


def _column(path: Path, column: str) -> list[Any]:
    try:
        return pl.scan_parquet(path, glob=False).select(column).collect()[column].to_list()
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}; fetch it again") from None


def _schema(path: Path) -> pl.Schema:
    try:
        return pl.Schema(pl.read_parquet_schema(path))
    except _BROKEN as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}; fetch it again") from None


def _image_column(path: Path, schema: pl.Schema, asked: str | None) -> str:
    able = [
        column
        for column, kind in schema.items()
        if kind == pl.Binary
        or (
            isinstance(kind, pl.Struct)
            and any(field.name == "bytes" and field.dtype == pl.Binary for field in kind.fields)
        )
    ]
    if asked in able:
        return asked
    if asked is None and len(able) == 1:
        return able[0]
    what = f"no column of images {asked!r}" if asked else "several columns of images" if able else "no column of images"
    raise ValueError(f"{path} has {what}; say image=COLUMN with one of: {', '.join(able) or '(none holds bytes)'}")


def _label_column(path: Path, schema: pl.Schema, asked: str | None) -> str:
    found = [name for name in ((asked,) if asked else (*LABELS, "labels")) if name in schema]
    if not found:
        what = f"no column {asked!r}" if asked else "no column of labels"
        raise ValueError(f"{path} has {what}; say label=COLUMN with one of: {', '.join(schema)}")
    return str(found[0])


def _class_names(root: Path, bound: Path, shard: Path, column: str) -> tuple[tuple[str, ...], Path]:
    """Find the names of the classes, and which file tells them."""
    try:
        features = json.loads(pl.read_parquet_metadata(shard)["huggingface"])["info"]["features"]
        found = features[column].get("names") or features[column]["feature"]["names"]
        return _texts(found), shard
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return _names_of_readme(root, bound, column), root / "README.md"


def _names_of_readme(root: Path, bound: Path, column: str) -> tuple[str, ...]:
    readme = root / "README.md"
    if not readme.is_file():
        return ()
    check_inside(bound, readme, str(root))
    with readme.open(encoding="utf-8", errors="replace") as file:
        header = file.read(MOST_TEXT).split("\n---", 1)[0]
    try:
        described = yaml.load(header.removeprefix("---"), _Plain)["dataset_info"]
        one = described[0] if isinstance(described, list) else described
        kind = next(feature["dtype"] for feature in one["features"] if feature["name"] == column)
        names = kind["class_label"]["names"]
        return _texts([names[key] for key in sorted(names, key=int)])
    except (yaml.YAMLError, KeyError, TypeError, ValueError, IndexError, StopIteration, RecursionError):
        return ()


class _Plain(yaml.SafeLoader):
    """Reads YAML without aliases: a kilobyte of them can stand for gigabytes."""

    def fetch_alias(self) -> None:
        raise yaml.YAMLError("aliases are not read")


def _texts(names: Sequence[Any]) -> tuple[str, ...]:
    """Take names that are text or numbers; anything else is a TypeError."""
    if isinstance(names, str) or not all(isinstance(name, str | int | float) for name in names):
        raise TypeError("names are texts")
    return tuple(str(name) for name in names)


def _word(value: Any, names: tuple[str, ...], where: str, teller: Path) -> str:
    if value is None or value == "":
        raise ValueError(f"{where} has no label; remove the row")
    if names and isinstance(value, int):
        if not 0 <= value < len(names):
            told = f"{teller} names {len(names)}: {shortened(names)}"
            raise ValueError(f"{where} has the class {value}, counted from 0, but {told}; mend one of the two")
        return names[value]
    return str(value)
