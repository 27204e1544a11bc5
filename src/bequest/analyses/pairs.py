"""What kind of pair is this?

Names of runs are `arm/replica`: `finetune/0`, `randinit/0b` (the init of `randinit/0`, another data order). `P` is the
pre-trained model. Charts and verdicts group pairs by what they compare, in one fixed order and one fixed colour.
"""

from __future__ import annotations

import re

PRETRAINED = "P"

KINDS: dict[str, str] = {  # kind of pair -> colour (told apart in grey and by colour-blind eyes, on white and on black)
    "finetune & finetune": "#2a78d6",
    "randinit & randinit": "#d95f26",
    "randinit, same init": "#b8860b",
    "finetune & randinit": "#8a63d2",
    "P & finetune": "#2e9e6b",
    "P & randinit": "#c2559d",
    "other": "#7f7f7f",
}
ARMS: dict[str, str] = {"finetune": "#2a78d6", "randinit": "#d95f26", "P": "#2e9e6b", "other": "#7f7f7f"}


def arm(name: str) -> str:
    """Give the arm of a run: `finetune` for `finetune/0`, `P` for `P`; a name without a slash is its own arm."""
    return name.split("/", 1)[0]


def same_init(a: str, b: str) -> bool:
    """Tell whether two different runs started from one init: `randinit/0` and `randinit/0b`."""
    if a == b:
        return False
    stem = [re.fullmatch(r"(.+/\d+)[a-z]?", name) for name in (a, b)]
    return bool(stem[0] and stem[1] and stem[0][1] == stem[1][1])


def repeats_init(name: str) -> bool:
    """Tell whether a run repeats the init of another one, as `randinit/0b` does; it is no replica of its own."""
    return re.fullmatch(r".+/\d+[a-z]", name) is not None


def kind(a: str, b: str) -> str:
    """Give the kind of a pair, a key of `KINDS`.

    Args:
        a: name of one run.
        b: name of the other; the order does not matter.

    Returns:
        `other` for pairs whose names are not of the two arms or `P`.
    """
    arms = sorted((arm(a), arm(b)))
    if arms == ["randinit", "randinit"] and same_init(a, b):
        return "randinit, same init"
    for known in KINDS:
        if sorted(known.split(" & ")) == arms:
            return known
    return "other"
