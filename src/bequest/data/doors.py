"""By which name is a set of images opened?

A door is a short name in a study file: "emoji:line", "digits", "folder:DIR". `DOORS` is all there is; a new format is
one file with a function that gives a `Source`, and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from bequest.data.digits import open_digits, open_fonts
from bequest.data.emoji import open_emoji
from bequest.data.folder import open_folder
from bequest.data.source import Source

DOORS: Mapping[str, Callable[[], Source]] = {
    "emoji:color": partial(open_emoji, "color"),
    "emoji:flat": partial(open_emoji, "flat"),
    "emoji:line": partial(open_emoji, "line"),
    "emoji:mono": partial(open_emoji, "mono"),
    "emoji:color+variants": partial(open_emoji, "color", variants=True),
    "emoji:flat+variants": partial(open_emoji, "flat", variants=True),
    "emoji:line+variants": partial(open_emoji, "line", variants=True),
    "emoji:mono+variants": partial(open_emoji, "mono", variants=True),
    "digits": open_digits,
    "fonts": open_fonts,
}


def open_source(door: str) -> Source:
    """Open a set of images by name.

    Args:
        door: a key of `DOORS`, or "folder:DIR" with a path.

    Returns:
        The source; nothing is drawn yet.

    Raises:
        ValueError: if there is no such door, with the nearest known one, or no DIR.
    """
    if door == "folder:":
        raise ValueError("the data 'folder:' names no folder; write folder:DIR")
    if door.startswith("folder:"):
        return open_folder(Path(door.removeprefix("folder:")))
    if door in DOORS:
        return DOORS[door]()
    near = get_close_matches(door, [*DOORS, "folder:DIR"], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no data called {door!r}; {hint}Known: {', '.join(DOORS)}, folder:DIR")
