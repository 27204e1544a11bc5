"""By which name is a set of images opened?

A door is a short name in a study file: "emoji:line", "digits", "folder:DIR", "chexpert:DIR?views=frontal". `DOORS` and
`PLACES` are all there is; a new format is one file with a function that gives a `Source`, and one line here. What
stands behind the question mark are the keyword arguments of that function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from bequest.data.chexpert import open_chexpert
from bequest.data.digits import open_digits, open_fonts
from bequest.data.domainnet import open_domainnet
from bequest.data.emoji import open_emoji
from bequest.data.emoji_names import open_emoji_names
from bequest.data.folder import open_folder
from bequest.data.hub import open_hub
from bequest.data.inside import impossible
from bequest.data.listed import open_listed
from bequest.data.options import read_options, split_door
from bequest.data.source import Source
from bequest.data.texts import open_texts

DOORS: Mapping[str, Callable[[], Source]] = {
    "emoji:color": partial(open_emoji, "color"),
    "emoji:flat": partial(open_emoji, "flat"),
    "emoji:line": partial(open_emoji, "line"),
    "emoji:mono": partial(open_emoji, "mono"),
    "emoji:color+variants": partial(open_emoji, "color", variants=True),
    "emoji:flat+variants": partial(open_emoji, "flat", variants=True),
    "emoji:line+variants": partial(open_emoji, "line", variants=True),
    "emoji:mono+variants": partial(open_emoji, "mono", variants=True),
    "emoji:names": open_emoji_names,
    "digits": open_digits,
    "fonts": open_fonts,
}

# kind -> how the place is written, and what opens it
PLACES: Mapping[str, tuple[str, Callable[..., Source]]] = {
    "folder": ("DIR", open_folder),
    "domainnet": ("DIR/DOMAIN", open_domainnet),
    "chexpert": ("DIR", open_chexpert),
    "csv": ("FILE", open_listed),
    "hub": ("NAME_OR_DIR", open_hub),
    "text": ("FILE.csv", open_texts),
}


def open_source(door: str) -> Source:
    """Open a set of images by name.

    Args:
        door: a key of `DOORS`, or a kind of `PLACES` with a path and, where it has them, options:
            "folder:DIR", "chexpert:DIR?uncertain=u-ones&split=row".

    Returns:
        The source; nothing is drawn yet.

    Raises:
        ValueError: if there is no such door or option, with the nearest known one, or no path.
    """
    if door in DOORS:
        return DOORS[door]()
    kind, place, options = split_door(door)
    if kind in PLACES and door != kind:
        written, opener = PLACES[kind]
        if not place:
            raise ValueError(f"the data {door!r} names no {_noun(written)}; write {kind}:{written}")
        if impossible(place):
            raise ValueError(f"no {_noun(written)} can be called {place[:80]!r}, {len(place):,} characters: {kind}")
        source = _written(opener(Path(place), **read_options(opener, options, door)))
        return replace(source, name=f"{source.name}?{options}") if options else source
    known = [*DOORS, *(f"{name}:{written}" for name, (written, _) in PLACES.items())]
    near = get_close_matches(door, known, n=1) or get_close_matches(kind, list(PLACES), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"there is no data called {door!r}; {hint}Known: {', '.join(known)}")


def with_absolute_place(door: str, folder: Path) -> str:
    """Write a door so that it opens from anywhere.

    Args:
        door: any door.
        folder: what its path is relative to: the folder of the study file.

    Returns:
        The door with an absolute path; as it was if it has none, or names something that is no path.
    """
    kind, place, options = split_door(door)
    if door in DOORS or kind not in PLACES or not place or impossible(place):
        return door
    if kind == "hub" and not (folder / place).is_dir():
        return door  # a name in the cache
    return f"{kind}:{(folder / place).resolve()}" + (f"?{options}" if options else "")


def _written(source: Source) -> Source:
    """Give names that can be written: of a file whose name is not UTF-8 they hold bytes that are no characters."""
    names = [source.name, source.attribution, *source.classes, *(record.name for record in source.records)]
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        records = tuple(replace(record, name=_text(record.name)) for record in source.records)
        classes = tuple(map(_text, source.classes))
        name, attribution = _text(source.name), _text(source.attribution)
        return replace(source, name=name, classes=classes, records=records, attribution=attribution)
    return source


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _noun(written: str) -> str:
    return "file" if written.startswith("FILE") else "folder"
