"""Which results in a folder does no study there refer to any more, and how are they removed?

A change of a study leaves the results of the old version behind, in case it is changed back. What the plans in the
folder name is kept: finished, begun or failed. Only folders that a store made, by their names, are ever considered, and
no symbolic link is followed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bequest.study.pulse import heard
from bequest.study.store import Store, told

PARTS = ("steps", "partial", "failed")
KEY = re.compile(r"[a-z_]+-[0-9a-f]{24}")
EVENTS = re.compile(r".* ([0-9a-f]{8})")  # of a step whose key ends so


@dataclass(frozen=True)
class Leftover:
    """A folder that nothing refers to.

    Attributes:
        folder: inside the study's folder.
        kind: `result`, `begun`, `failure` or `event files`.
        label: what it was.
        bytes: of all its files.
    """

    folder: Path
    kind: str
    label: str
    bytes: int


def leftovers(root: Path, wanted: Collection[str]) -> list[Leftover]:
    """Find what nothing refers to.

    Args:
        root: a study's folder.
        wanted: keys of all steps of all studies in it.

    Returns:
        The folders, the largest first. Steps that are being worked on are not among them.
    """
    kinds = dict(zip(PARTS, ("result", "begun", "failure"), strict=True))
    found = []
    for name, kind in kinds.items():
        for folder in _own(root / name):
            if KEY.fullmatch(folder.name) and folder.name not in wanted and not _alive(folder):
                found.append(Leftover(folder, kind, _label(folder), _bytes(folder)))
    ends = {key[-8:] for key in wanted}
    for folder in _own(root / "tensorboard"):
        match = EVENTS.fullmatch(folder.name)
        if match and match[1] not in ends:
            found.append(Leftover(folder, "event files", folder.name, _bytes(folder)))
    return sorted(found, key=lambda one: (-one.bytes, one.folder))


def remove(root: Path, found: Sequence[Leftover], wanted: Callable[[], Collection[str]]) -> int:
    """Remove leftovers, while no run may work in the folder.

    Args:
        root: a study's folder.
        found: what `leftovers` gave.
        wanted: gives the keys as they are now: a run may have come and gone while somebody thought about it.

    Returns:
        Bytes that were removed.

    Raises:
        StoreError: if a run works in the folder, or the disk is read-only.
    """
    with Store(root).only_driver(), told(root):
        still = {one.folder for one in leftovers(root, wanted())}
        removed = [one for one in found if one.folder in still]
        for one in removed:
            # without it a result is not there, so a kill in between leaves no half of one that could be taken for whole
            (one.folder / "manifest.json").unlink(missing_ok=True)
            shutil.rmtree(one.folder)
    return sum(one.bytes for one in removed)


def _own(part: Path) -> list[Path]:
    """The real folders in a part of a study's folder that is itself a real folder."""
    if part.is_symlink() or not part.is_dir():
        return []
    with os.scandir(part) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _alive(folder: Path) -> bool:
    sign = heard(folder)
    return sign is not None and sign.alive()


def _label(folder: Path) -> str:
    """What the step was called, from what it left; a step that was begun has left no name."""
    for name in ("spec.json", "failure.json"):
        try:
            return str(json.loads((folder / name).read_text(encoding="utf-8"))["label"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return folder.name


def _bytes(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):
        total += sum((Path(place) / name).lstat().st_size for name in files)
    return total
