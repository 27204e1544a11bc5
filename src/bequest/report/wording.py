"""How is plain text set for reading?

Sentences of analyses are plain ASCII: here their minus signs and code get the marks that a reader expects. Everything
else is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bequest.report.verdicts import Slot

if TYPE_CHECKING:
    from markupsafe import Markup

MINUS = "\u2212"
DASH = "\u2013"


def typeset(text: str) -> Markup:
    """Escape a text, give numbers a true minus sign and set what stands between backticks as code.

    Args:
        text: from anywhere.

    Returns:
        Markup that is safe to put into a page.
    """
    from markupsafe import Markup, escape

    signed = re.sub(r"(?<![\w.)])-(?=\d)", MINUS, text)
    pieces = re.split(r"`([^`]+)`", signed)
    return Markup("").join(  # every other piece stood between backticks
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def lead(sentence: str) -> tuple[str, str]:
    """Part the answer from the numbers, so that the page can set one before the other.

    Args:
        sentence: of a verdict, as `No barrier: barriers in points of error ...`.

    Returns:
        The words up to the first colon or full stop, and the rest; all words where there is none.
    """
    found = re.match(r"[^:.(]*[:.](?= )", sentence)
    return (sentence[: found.end()], sentence[found.end() :]) if found else (sentence, "")


def signed(value: float, digits: int = 1) -> str:
    """Write a difference with its sign."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def interval(low: float | None, high: float | None) -> str:
    """Write the ends of an interval, both with as many decimals as the larger one needs; a dash for none."""
    if low is None or high is None:
        return DASH
    largest = max(abs(low), abs(high))
    digits = 1 if largest >= 10 else 2 if largest >= 1 else 3
    return f"{low:.{digits}f} to {high:.{digits}f}".replace("-", MINUS)


def tally(slots: Sequence[Slot]) -> str:
    """Count the words of the slots, as one sentence."""
    words: dict[str, int] = {}
    for slot in slots:
        words[slot.word] = words.get(slot.word, 0) + 1
    plural = {"holds": "hold", "holds under conditions": "hold under conditions", "does not hold": "do not hold"}
    order = [*plural, "inconclusive", *(word for word in words if word not in plural and word != "inconclusive")]
    texts = [f"{words[word]} {plural.get(word, word) if words[word] > 1 else word}" for word in order if word in words]
    return f"Of the {len(slots)} claims, {', '.join(texts[:-1])}{' and ' if len(texts) > 1 else ''}{texts[-1]}."
