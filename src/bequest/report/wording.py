"""How is plain text set for reading?

Sentences of analyses are plain ASCII: here their minus signs and code get the marks that a reader expects. Everything
else is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bequest.report.verdicts import Slot
from bequest.study.visible import visible

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

    signed = re.sub(r"(?<![\w.)])-(?=\d)", MINUS, visible(text))
    pieces = re.split(r"`([^`]+)`", signed)
    return Markup("").join(  # every other piece stood between backticks
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def parted(sentence: str) -> tuple[str, str, str]:
    """Part the answer from the numbers that decided and from the rest, so that the page can set them apart.

    Args:
        sentence: of a verdict, as `No barrier: barriers in points of error are ... . Without the refit ...`.

    Returns:
        The words up to the first colon or full stop, the rest of that sentence, and what follows it.
    """
    first, *more = re.split(r"(?<=\.) (?=[A-Z])", sentence, maxsplit=1)
    answer, colon, numbers = first.partition(": ")
    return answer + colon.rstrip(), numbers and f" {numbers}", more[0] if more else ""


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
    texts = []
    for word in (one for one in order if one in words):
        verb = "" if word in plural or word == "failed" else "are " if words[word] > 1 else "is "
        texts.append(f"{words[word]} {verb}{plural.get(word, word) if words[word] > 1 else word}")
    return f"Of the {len(slots)} claims, {', '.join(texts[:-1])}{' and ' if len(texts) > 1 else ''}{texts[-1]}."
