"""How is a folder of images read?

Either DIR holds a folder for each class, or DIR/train, DIR/validation (or DIR/val) and DIR/test each do. Without these
the split follows from the bytes of the files, so that copies of a file are on the same side. Nothing outside DIR is
read. A file is looked at when it is drawn; one that cannot be read is named then.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bequest.data.copies import without_copies
from bequest.data.decode import ENDINGS, draw_file
from bequest.data.inside import check_inside
from bequest.data.source import Record, Source, Split, file_digest
from bequest.data.splits import SHARES, split_groups

SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
Found = tuple[Path, str, Split | None]


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
        digests = [file_digest(path) for path, _, _ in found]
        stay = without_copies(digests, [split for _, _, split in found], str(folder))
        found = [found[index] for index in stay]
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


def _entries(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _images(root: Path, folder: Path) -> list[tuple[Path, str]]:
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
                check_inside(root, path, str(root))
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
