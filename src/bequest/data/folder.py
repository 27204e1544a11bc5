"""How is a folder of images read?

Either DIR holds a folder for each class, or DIR/train, DIR/validation (or DIR/val) and DIR/test each do. Without these
the split follows from the bytes of the files, so that copies of a file are on the same side. Nothing outside DIR is
read. A file is looked at when it is drawn; one that cannot be read is named then.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from bequest.data.classes import check_classes
from bequest.data.copies import without_copies
from bequest.data.decode import ENDINGS, Fit, draw_file
from bequest.data.inside import check_inside
from bequest.data.source import Record, Source, Split, file_digest
from bequest.data.splits import complete_splits

SPLIT_FOLDERS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
Found = tuple[Path, str, Split | None]


def open_folder(folder: Path, bound: Path | None = None, *, fit: Fit = "crop") -> Source:
    """Open a folder of images.

    Args:
        folder: class folders with images, or split folders with class folders.
        bound: the folder that links must not leave; None takes `folder`.
        fit: see `draw_file`.

    Returns:
        The source; classes in alphabetical order. A missing validation or test part is cut from train by hash. Copies
        of test files are left out of validation, and copies of both out of train, with a warning.

    Raises:
        FileNotFoundError: if the folder is missing.
        ValueError: if it holds no class folders or no images, if a class has fewer than two images, or if a file lies
            outside of that (through a link).
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the data folder {folder} {what}")
    inner = [entry for entry in _entries(folder) if entry.is_dir()]
    parts = {entry: SPLIT_FOLDERS[entry.name] for entry in inner if entry.name in SPLIT_FOLDERS}
    found: list[Found]
    if parts and len(parts) == len(inner) and "train" in parts.values():
        found = [
            (path, label, split) for part, split in parts.items() for path, label in _images(bound or folder, part)
        ]
        digests = [file_digest(path) for path, _, _ in found]
        stay = without_copies(digests, [split for _, _, split in found], str(folder))
        found = [found[index] for index in stay]
    else:
        found = [(path, label, None) for path, label in _images(bound or folder, folder)]
    if not found:
        raise ValueError(
            f"the data folder {folder} holds no images; expected {folder}/CLASS/IMAGE or {folder}/train/CLASS/IMAGE "
            f"with endings {', '.join(sorted(ENDINGS))}"
        )
    classes = tuple(sorted({label for _, label, _ in found}))
    targets = [classes.index(label) for _, label, _ in found]
    check_classes(classes, targets, [split for _, _, split in found], str(folder), "remove the class folder")
    groups = [file_digest(path) for path, _, _ in found]
    splits = complete_splits(groups, targets, [split for _, _, split in found])
    records = tuple(
        Record(path.relative_to(folder).as_posix(), group, target, partial(draw_file, path, fit=fit), split)
        for (path, _, _), group, target, split in zip(found, groups, targets, splits, strict=True)
    )
    attribution = f"Images from the folder {folder.resolve().name}"
    return Source(
        f"folder:{folder.resolve().name}",
        classes,
        records,
        attribution,
        files=tuple(path for path, _, _ in found),
        recipe="" if fit == "crop" else fit,
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
