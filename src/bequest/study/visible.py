"""How is text that came from data shown, so that it passes for nothing else?

A name may hold codes that a terminal obeys, line breaks that begin a line of their own, marks that turn the direction
of reading (`83 %` then reads `38 %`), or halves of characters that no file can hold. Each is shown as its number. What
letters and emoji are made of stays: right-to-left letters, accents, joiners.
"""

from __future__ import annotations

import re
from typing import Any

LONGEST = 2_000  # chosen: characters of a message; a screen has about as many
_FORMAT = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"  # direction, line and paragraph, annotation
_HARMFUL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_FORMAT}\ud800-\udfff]")
_FOUND = re.compile(rf"[\x00-\x1f\x7f-\x9f{_FORMAT}\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Show a text with its harmful characters as numbers; line breaks and tabs stay.

    Args:
        text: from anywhere.

    Returns:
        Text that every encoding of Unicode can write: `cat\u202e83` for a mark of direction between the two.
    """
    return _HARMFUL.sub(_number, text)


def one_line(text: object, most: int = LONGEST) -> str:
    """Show a text in one line of bounded length.

    Args:
        text: from anywhere.
        most: characters; of a longer text the middle is left out, for the end often says what to do.

    Returns:
        The line.
    """
    line = _FOUND.sub(_number, " ".join(part.strip() for part in str(text).split("\n") if part.strip()))
    if len(line) <= most:
        return line
    end = most // 3
    return f"{line[: most - end - 3]} … {line[-end:]}"


def visible_values(value: Any) -> Any:
    """Show all texts inside of lists and maps, their keys too; everything else stays as it is."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): visible_values(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [visible_values(one) for one in value]
    return value


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
