"""How are the images drawn once and read from then on without being copied?

A packed set is a folder with `pixels.npy`, uint8 [n, size, size, 3], which is memory-mapped, and `index.json` with the
classes, names, groups, targets and splits. It is drawn in parallel and is the same, byte for byte, for any number of
workers. `index.json` is written last: a folder without it is not a packed set.

An image that cannot be drawn does not stop the others. Few of them are left out and named in `index.json` and in one
warning; more than one, and more than `MOST_BROKEN` of all, and nothing is packed: one error names them.
"""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bequest.data.decode import PLAIN, Reduction
from bequest.data.inside import shortened
from bequest.data.source import SPLITS, Record, Source, Split, Target

FORMAT = 1
AHEAD = 4  # images a worker that may wait to be written; bounds the memory
MOST_PIXELS = 4096  # a side; above this a typing error is likelier than an intent
NO_TARGET = -100  # PyTorch's mark for a token that is no target
MOST_BROKEN = 0.01  # chosen: of all images; beyond it something is wrong with the set, not with a file


@dataclass(frozen=True)
class Packed:
    """Images that were drawn.

    Attributes:
        pixels: uint8 [n, size, size, 3], memory-mapped, read-only.
        targets: int64 [n], index of the class; with several labels an image float32 [n, classes], 0 (absent), 1
            (present) or NaN (missing); of texts without classes their tokens int64 [n, tokens], -100 for padding.
        groups: name of the group of each image.
        names: name of each image.
        splits: "train", "validation" or "test" for each image.
        classes: names of the classes.
        attribution: who made the pictures, and the licence.
        domain: the door it came through.
        left_out: name of each image that could not be drawn, and why.
        texts: of a set of texts, each as it stands; then `pixels` is empty.
        tokens: of a set of texts, name of an input of the model -> int32 [n, tokens].
    """

    pixels: NDArray[np.uint8]
    targets: Tensor
    groups: list[str]
    names: list[str]
    splits: list[Split]
    classes: tuple[str, ...]
    attribution: str
    domain: str
    left_out: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    tokens: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.targets.is_floating_point()

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
    reduction: Reduction = PLAIN,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Draw all images of a source into a folder.

    Args:
        source: what to draw.
        folder: where to; created if missing. Not atomic: write to a scratch folder and move that.
        size: pixels a side.
        reduction: how pixels are reduced to it; has no say where pictures are drawn at any size.
        workers: threads; None takes as many as there are processors. They pay for files and fonts, where Pillow
            releases the lock of Python; resvg does not, and processes were no faster for a thousand emoji (measured).
        progress: called with (images done, all images) after each image.

    Returns:
        The packed set, opened from the folder.

    Raises:
        ValueError: if the source is empty or holds texts, the size is out of range, or too many images cannot be
            drawn (they are named).
        RuntimeError: if numpy writes the header of an array in another length when images were left out.
    """
    if not source.records:
        raise ValueError(f"{source.name} has no images")
    if source.texts:
        raise ValueError(f"{source.name} holds texts; they have no pixels to pack")
    if not 1 <= size <= MOST_PIXELS:
        raise ValueError(f"size has to be 1 to {MOST_PIXELS} pixels, not {size}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").unlink(missing_ok=True)
    n = len(source.records)
    drawn: list[Record] = []
    left_out: list[tuple[str, str]] = []
    with (folder / "pixels.npy").open("wb") as file:
        _write_header(file, n, size)
        start = file.tell()
        for done, image in enumerate(_drawn(source.records, size, reduction, workers or os.cpu_count() or 1)):
            record = source.records[done]
            if isinstance(image, ValueError):
                left_out.append((record.name, str(image)))
            elif image.shape != (size, size, 3) or image.dtype != np.uint8:
                raise ValueError(
                    f"{source.name} drew {record.name} as {image.dtype} {image.shape}, not as uint8 {(size, size, 3)}"
                )
            else:
                file.write(np.ascontiguousarray(image).data)
                drawn.append(record)
            if progress is not None:
                progress(done + 1, n)
        _check_left_out(source, left_out)
        if left_out:
            file.seek(0)
            _write_header(file, len(drawn), size)
            if file.tell() != start:  # numpy leaves room for any number of images
                raise RuntimeError(f"the header of {folder / 'pixels.npy'} changed its length; update numpy")
    index: dict[str, Any] = {
        "format": FORMAT,
        "domain": source.name,
        "size": size,
        "attribution": source.attribution,
        "classes": source.classes,
        "records": [[record.name, record.group, record.target, record.split] for record in drawn],
    }
    if left_out:
        index["left_out"] = left_out
    (folder / "index.json").write_text(json.dumps(index, indent=0) + "\n", encoding="utf-8")
    return open_packed(folder)


def open_packed(folder: Path) -> Packed:
    """Open what `pack` has written.

    Args:
        folder: with `pixels.npy`, or of texts `tokens.safetensors`, and `index.json`.

    Returns:
        The packed set; pixels are read from the disk when they are asked for.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        ValueError: if the files do not fit each other or are of another format.
    """
    arrays = "tokens.safetensors" if (folder / "tokens.safetensors").is_file() else "pixels.npy"
    for name in ("index.json", arrays):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} is not a packed set of images: {name} is missing; pack it again")
    try:
        index: dict[str, Any] = dict(json.loads((folder / "index.json").read_text(encoding="utf-8")))
        size, classes, records = int(index["size"]), tuple(map(str, index["classes"])), index["records"]
        names, groups, targets, splits = [list(column) for column in zip(*records, strict=True)]
        target_tensor = _target_tensor(targets, len(classes))
        left_out = tuple((str(name), str(why)) for name, why in index.get("left_out", ()))
        made, domain = str(index["attribution"]), str(index["domain"])
        texts = tuple(map(str, index.get("texts", ())))
    except (ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:  # RuntimeError: torch's, and depth
        raise ValueError(f"{folder / 'index.json'} is damaged ({error}); pack the images again") from error
    if index.get("format") != FORMAT:
        raise ValueError(f"{folder} has format {index.get('format')}, this version reads {FORMAT}; pack it again")
    most = max(len(classes) - 1, 0) if target_tensor.ndim == 1 else 1
    known = target_tensor[~target_tensor.isnan()]
    if not all(side in SPLITS for side in splits) or not all((known >= 0) & (known <= most)):
        raise ValueError(f"{folder / 'index.json'} has an unknown class or split; pack the images again")
    if arrays == "tokens.safetensors":
        try:
            tokens = load_file(folder / arrays)
        except SafetensorError as error:
            raise ValueError(f"{folder / arrays} is damaged ({error}); pack the texts again") from error
        if len(texts) != len(records) or any(one.ndim != 2 or len(one) != len(records) for one in tokens.values()):
            raise ValueError(f"{folder / arrays} and index.json hold other numbers of texts; pack the texts again")
        target_tensor = target_tensor if classes else _next_tokens(tokens)
        nothing = np.zeros((len(records), 0, 0, 3), np.uint8)
        return Packed(nothing, target_tensor, groups, names, splits, classes, made, domain, texts=texts, tokens=tokens)
    try:
        pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="r")
    except Exception as error:  # numpy evaluates the header, and damaged ones fail in any way
        raise ValueError(f"{folder / 'pixels.npy'} is damaged ({error}); pack the images again") from error
    expected = (len(records), size, size, 3)
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise ValueError(
            f"{folder / 'pixels.npy'} holds {pixels.dtype} {pixels.shape}, index.json says uint8 {expected}; "
            "pack the images again"
        )
    return Packed(pixels, target_tensor, groups, names, splits, classes, made, domain, left_out)


def _target_tensor(targets: list[Target], classes: int) -> Tensor:
    if not any(isinstance(target, list | tuple) for target in targets):
        return torch.tensor(targets, dtype=torch.int64)
    rows = [[float("nan") if value is None else value for value in target] for target in targets]  # type: ignore[union-attr] # an int among them is a TypeError
    if any(len(row) != classes for row in rows):
        raise ValueError(f"an image has not one target for each of {classes} classes")
    return torch.tensor(rows, dtype=torch.float32)


def _next_tokens(tokens: Mapping[str, Tensor]) -> Tensor:
    said = tokens["input_ids"].long()
    return said.masked_fill(tokens["attention_mask"] == 0, NO_TARGET) if "attention_mask" in tokens else said


def _write_header(file: IO[bytes], n: int, size: int) -> None:
    described = {"descr": "|u1", "fortran_order": False, "shape": (n, size, size, 3)}
    np.lib.format.write_array_header_1_0(file, described)


def _check_left_out(source: Source, left_out: list[tuple[str, str]]) -> None:
    if not left_out:
        return
    told = f"{len(left_out):,} of {len(source.records):,} images of {source.name} cannot be drawn"
    reasons = shortened([why for _, why in left_out])
    if len(left_out) > max(1, MOST_BROKEN * len(source.records)):
        raise ValueError(f"{told}, and at most one in a hundred is left out: {reasons}")
    warnings.warn(f"{told} and are left out: {reasons}", stacklevel=3)


def _drawn(
    records: tuple[Record, ...], size: int, reduction: Reduction, workers: int
) -> Iterator[NDArray[np.uint8] | ValueError]:
    # Images come back in the order of the records, whatever the number of workers.
    waiting: list[Future[NDArray[np.uint8] | ValueError]] = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for record in records:
                waiting.append(pool.submit(_draw, record, size, reduction))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _draw(record: Record, size: int, reduction: Reduction) -> NDArray[np.uint8] | ValueError:
    assert record.draw is not None
    takes = reduction != PLAIN and "reduction" in inspect.signature(record.draw).parameters
    try:
        return record.draw(size, reduction=reduction) if takes else record.draw(size)
    except ValueError as error:  # what a damaged image gives; anything else is a mistake in the code and stops here
        return error
