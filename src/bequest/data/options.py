"""What do the words behind the question mark of a door mean?

"chexpert:DIR?views=frontal&split=row" calls `open_chexpert(DIR, views="frontal", split="row")`. The typed keyword
arguments of the function are its options, so that there is no second place to declare one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import unquote


def split_door(door: str) -> tuple[str, str, str]:
    """Take a door apart.

    Args:
        door: as "chexpert:DIR?views=frontal".

    Returns:
        Kind, place and options as text: "chexpert", "DIR" and "views=frontal"; the latter two may be empty. A question
        mark with no "=" behind it belongs to the place.
    """
    kind, _, rest = door.partition(":")
    place, mark, options = rest.rpartition("?")
    if not mark or "=" not in options:
        return kind, rest, ""
    return kind, place, options


def read_options(opener: Callable[..., object], text: str, door: str) -> dict[str, Any]:
    """Read the options of a door.

    Args:
        opener: the function whose keyword-only arguments are the options.
        text: "key=value" joined by "&"; %26 and %3D stand for "&" and "=" in a value.
        door: the whole door, for messages.

    Returns:
        Keyword arguments for the opener.

    Raises:
        ValueError: if an option is unknown (with the nearest known one), given twice, or its value does not fit.
    """
    hints = option_types(opener)
    options: dict[str, Any] = {}
    for part in text.split("&") if text else ():
        name, equals, value = part.partition("=")
        if name not in hints:
            raise ValueError(f"{door}: there is no option {name!r}; {_nearest(name, list(hints))}")
        if not equals or name in options:
            raise ValueError(f"{door}: write {name}=VALUE, once")
        options[name] = _read(hints[name], unquote(value), f"{door}: {name}")
    return options


def option_types(opener: Callable[..., object]) -> Mapping[str, Any]:
    """List the options of an opener with their types, in the order of its arguments."""
    hints = get_type_hints(opener)
    arguments = inspect.signature(opener).parameters.values()
    return {argument.name: hints[argument.name] for argument in arguments if argument.kind is argument.KEYWORD_ONLY}


def _read(hint: Any, value: str, where: str) -> Any:
    allowed = [part for part in get_args(hint) if part is not NoneType]
    if get_origin(hint) is Literal:
        if value not in allowed:
            raise ValueError(f"{where} is {value!r}; {_nearest(value, [str(word) for word in allowed])}")
        return value
    if NoneType in get_args(hint):
        return _read(allowed[0], value, where)
    if get_origin(hint) is tuple:
        return tuple(part.strip() for part in value.split(","))
    try:
        return hint(value)
    except ValueError:
        raise ValueError(f"{where} is {value!r}, not {'a whole number' if hint is int else 'a number'}") from None


def _nearest(word: str, known: list[str]) -> str:
    if not known:
        return "there are none here"
    near = get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}Known: {', '.join(known)}"
