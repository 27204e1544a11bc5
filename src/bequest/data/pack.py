"""How are the images drawn once and read from then on without being copied?

A packed set is a folder with `pixels.npy`, uint8 [n, size, size, 3], which is memory-mapped, and `index.json` with the
classes, names, groups, targets and splits. It is drawn in parallel and is the same, byte for byte, for any number of
workers. `index.json` is written last: a folder without it is not a packed set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bequest.data.source import SPLITS, Record, Source, Split

FORMAT = 1
AHEAD = 4  # images a worker that may wait to be written; bounds the memory
MOST_PIXELS = 4096  # a side; above this a typing error is likelier than an intent


@dataclass(frozen=True)
class Packed:
    """Images that were drawn.

    Attributes:
        pixels: uint8 [n, size, size, 3], memory-mapped, read-only.
        targets: int64 [n], index of the class.
        groups: name of the group of each image.
        names: name of each image.
        splits: "train", "validation" or "test" for each image.
        classes: names of the classes.
        attribution: who made the pictures, and the licence.
        domain: the door it came through.
    """

    pixels: NDArray[np.uint8]
    targets: Tensor
    groups: list[str]
    names: list[str]
    splits: list[Split]
    classes: tuple[str, ...]
    attribution: str
    domain: str

    def indices(self, split: str) -> Tensor:
        """List the images of a split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            int64 [k], ascending.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; known: {', '.join(SPLITS)}")
        return torch.tensor([index for index, side in enumerate(self.splits) if side == split], dtype=torch.int64)


def pack(
    source: Source,
    folder: Path,
    *,
    size: int,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Draw all images of a source into a folder.

    Args:
        source: what to draw.
        folder: where to; created if missing. Not atomic: write to a scratch folder and move that.
        size: pixels a side.
        workers: threads; None takes as many as there are processors. They pay for files and fonts, where Pillow
            releases the lock of Python; resvg does not, and processes were no faster for a thousand emoji (measured).
        progress: called with (images done, all images) after each image.

    Returns:
        The packed set, opened from the folder.

    Raises:
        ValueError: if the source is empty, the size is out of range, or an image cannot be drawn (it is named).
    """
    if not source.records:
        raise ValueError(f"{source.name} has no images")
    if not 1 <= size <= MOST_PIXELS:
        raise ValueError(f"size has to be 1 to {MOST_PIXELS} pixels, not {size}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    n = len(source.records)
    pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, 3))
    for done, image in enumerate(_drawn(source.records, size, workers or os.cpu_count() or 1)):
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"{source.name} drew {source.records[done].name} as {image.dtype} {image.shape}, "
                f"not as uint8 {(size, size, 3)}"
            )
        pixels[done] = image
        if progress is not None:
            progress(done + 1, n)
    pixels.flush()
    del pixels
    index = {
        "format": FORMAT,
        "domain": source.name,
        "size": size,
        "attribution": source.attribution,
        "classes": source.classes,
        "records": [[record.name, record.group, record.target, record.split] for record in source.records],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=0) + "\n", encoding="utf-8")
    return open_packed(folder)


def open_packed(folder: Path) -> Packed:
    """Open what `pack` has written.

    Args:
        folder: with `pixels.npy` and `index.json`.

    Returns:
        The packed set; pixels are read from the disk when they are asked for.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if the files do not fit each other or are of another format.
    """
    for name in ("index.json", "pixels.npy"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a packed set of images: {name} is missing; pack it again")
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        size, classes, records = int(index["size"]), tuple(index["classes"]), index["records"]
        names, groups, targets, splits = [list(column) for column in zip(*records, strict=True)]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'index.json'} is damaged ({error}); pack the images again") from error
    if index.get("format") != FORMAT:
        raise ValueError(f"{folder} has format {index.get('format')}, this version reads {FORMAT}; pack it again")
    if not all(side in SPLITS for side in splits) or not all(0 <= target < len(classes) for target in targets):
        raise ValueError(f"{folder / 'index.json'} has an unknown class or split; pack the images again")
    try:
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{folder / 'pixels.npy'} is damaged ({error}); pack the images again") from error
    expected = (len(records), size, size, 3)
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise ValueError(
            f"{folder / 'pixels.npy'} holds {pixels.dtype} {pixels.shape}, index.json says uint8 {expected}; "
            "pack the images again"
        )
    target_tensor = torch.tensor(targets, dtype=torch.int64)
    return Packed(
        pixels, target_tensor, groups, names, splits, classes, str(index["attribution"]), str(index["domain"])
    )


def _drawn(records: tuple[Record, ...], size: int, workers: int) -> Iterator[NDArray[np.uint8]]:
    # Images come back in the order of the records, whatever the number of workers.
    waiting: list[Future[NDArray[np.uint8]]] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for record in records:
                waiting.append(pool.submit(record.draw, size))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
