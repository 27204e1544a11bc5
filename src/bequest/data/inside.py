"""Does what a list names lie inside the folder of the list?

A list file comes from somebody else. An entry with `..`, an absolute path, or a link to elsewhere could make any file
of this machine part of a report, so each is refused. Missing files are told in one message, not one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

SHOWN = 10  # chosen: names in a message before "and so many more"
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes that Linux takes for a name and for a path


def inside(root: Path, entry: str, where: str, *, bound: Path | None = None) -> Path:
    """Give the path of a list's entry.

    Args:
        root: the folder of the list, which its entries must not leave.
        entry: what the list says, relative to the root, with slashes.
        where: file and line, for the message.
        bound: the folder that links must not leave; None takes the root.

    Returns:
        The path below the root; it need not exist.

    Raises:
        ValueError: if it is empty, absolute, goes up, or is a link to outside of the bound.
    """
    up = ".." in re.split(r"[\\/]", entry)
    if not entry or up or entry[0] in "/\\" or Path(entry).drive or impossible(entry):
        shown = repr(entry) if len(entry) <= LONGEST_NAME else f"{entry[:40]!r}… ({len(entry):,} characters)"
        raise ValueError(f"{where}: {shown} is no path inside of {root}; write it relative to that folder, without ..")
    path = root / entry
    check_inside(bound or root, path, where)
    return path


def impossible(path: str) -> bool:
    """Tell whether no file can be called so: too long, or with a zero character or half of one."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        return True
    return b"\0" in encoded or len(encoded) > LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME


def check_inside(root: Path, path: Path, where: str) -> None:
    """Refuse a path that leads out of a folder through a link.

    Args:
        root: the folder that must not be left.
        path: below the root by name.
        where: file and line, for the message.

    Raises:
        ValueError: if the path ends outside of the root.
    """
    # Strings, for pathlib takes three times as long, and a list may have 200,000 entries.
    text, limit = str(path), _real(str(root))
    parent, name = os.path.split(text)
    real = os.path.realpath(text) if os.path.islink(text) else os.path.join(_real(parent), name)  # noqa: PTH114, PTH118
    if real != limit and not real.startswith(limit.rstrip(os.sep) + os.sep):
        raise ValueError(f"{where}: {path} is a link to {real}, outside of {root}; copy the file instead")


def check_present(paths: Iterable[Path], what: str) -> None:
    """Refuse a list that names files which are not there.

    Args:
        paths: all that the list names.
        what: the list, as "clipart_train.txt".

    Raises:
        FileNotFoundError: if some are missing; it says how many, and names the first ten.
    """
    every = list(paths)
    missing = [path for path in every if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of {len(every):,} files that {what} names are missing: {shortened(missing)}; "
            "is the download complete?"
        )


def shortened(names: Sequence[object]) -> str:
    """Write the first ten names and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more


@lru_cache(maxsize=300_000)
def _real(folder: str) -> str:
    return os.path.realpath(folder)
