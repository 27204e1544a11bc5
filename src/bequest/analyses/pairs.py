"""What kind of pair is this?

Names of runs are `arm/replica`: `finetune/0`, `randinit/0b` (the init of `randinit/0`, another data order). `P` is the
pre-trained model. Charts and verdicts group pairs by what they compare, in one fixed order and one fixed colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

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
ARMS: dict[str, str] = {
    "finetune": "#2a78d6",
    "randinit": "#d95f26",
    "meanvar": "#8a63d2",
    "shuffled": "#b8860b",
    "probe": "#c2559d",
    "P": "#2e9e6b",
    "other": "#7f7f7f",
}
CONTROLS = ("meanvar", "shuffled", "probe")  # the control arms


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


def replicas(names: Iterable[str]) -> dict[str, list[str]]:
    """Group the names of runs by arm, without those that repeat an init.

    Args:
        names: of runs.

    Returns:
        Arm -> its runs, arms in the order of `ARMS`, others after them in order of appearance.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        if not repeats_init(name):
            found.setdefault(arm(name), []).append(name)
    return {which: found[which] for which in (*(known for known in ARMS if known in found), *found)}


def replica_pairs(a: Iterable[str], b: Iterable[str]) -> list[tuple[str, str]]:
    """Pair replica i of one arm with replica i of the other.

    Args:
        a: names of the runs of one arm.
        b: names of the runs of the other.

    Returns:
        The pairs, in the order of `a`; two arms of one run each are a pair whatever their numbers.
    """
    left, right = list(a), list(b)
    if len(left) == len(right) == 1:
        return [(left[0], right[0])]
    other = {name.partition("/")[2]: name for name in right}
    return [(name, other[name.partition("/")[2]]) for name in left if name.partition("/")[2] in other]


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
