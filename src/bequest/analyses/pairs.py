"""What kind of pair is this, and how is it drawn?

Names of runs are `arm/replica`: `finetune/0`, `randinit/0b` (the init of `randinit/0`, another data order). `P` is the
pre-trained model. Charts and verdicts group pairs by what they compare, in one fixed order. Colour says which arm, dash
and shape say of what: pairs within an arm are solid lines in the colour of the arm, pairs with P dashed ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

PRETRAINED = "P"
CONTROLS = ("meanvar", "shuffled", "probe")  # the control arms
ARMS: dict[str, str] = {  # arm -> colour (3:1 on white and on black; apart for protan, deutan and tritan eyes)
    "finetune": "#2a78d6",
    "randinit": "#d95f26",
    "meanvar": "#7447f0",
    "shuffled": "#958fbc",
    "probe": "#8f5675",
    "P": "#2e9e6b",
    "other": "#7f7f7f",
}
ACROSS = "across control arms"  # says little, and is most of the pairs there are: in tables, not in charts


@dataclass(frozen=True)
class Look:
    """How a kind of pair is drawn.

    Attributes:
        colour: of its lines and dots.
        dash: lengths of the strokes and gaps of its lines, pixels; one stroke and no gap is a solid line.
        shape: of its dots, as Vega names it or as an SVG path.
    """

    colour: str
    dash: tuple[int, ...]
    shape: str


_STAR = "M0,-1L.59,.81L-.95,-.31H.95L-.59,.81Z"
_SOLID, _DOTTED, _DASHED, _MIXED = (1, 0), (2, 2), (6, 3), (8, 3, 2, 3)

LOOKS: dict[str, Look] = {
    "finetune & finetune": Look(ARMS["finetune"], _SOLID, "circle"),
    "randinit & randinit": Look(ARMS["randinit"], _SOLID, "square"),
    "randinit, same init": Look(ARMS["randinit"], _DOTTED, "diamond"),
    "finetune & randinit": Look(ARMS["P"], _MIXED, "triangle-right"),
    "P & finetune": Look(ARMS["finetune"], _DASHED, _STAR),
    "P & randinit": Look(ARMS["randinit"], _DASHED, _STAR),
    "meanvar & meanvar": Look(ARMS["meanvar"], _SOLID, "triangle-up"),
    "shuffled & shuffled": Look(ARMS["shuffled"], _SOLID, "triangle-down"),
    "probe & probe": Look(ARMS["probe"], _SOLID, "cross"),
    "finetune & probe": Look(ARMS["probe"], _MIXED, "triangle-left"),
    "P & meanvar": Look(ARMS["meanvar"], _DASHED, _STAR),
    "P & shuffled": Look(ARMS["shuffled"], _DASHED, _STAR),
    "P & probe": Look(ARMS["probe"], _DASHED, _STAR),
    ACROSS: Look(ARMS["other"], _DOTTED, "stroke"),
    "other": Look(ARMS["other"], _SOLID, "circle"),
}
KINDS: dict[str, str] = {name: look.colour for name, look in LOOKS.items()}  # kind of pair -> colour, in their order


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
        `across control arms` for those of a control arm and another one (but `finetune & probe`, which asks what
        fine-tuning changes in P); `other` for pairs whose names are not of the arms or `P`.
    """
    arms = sorted((arm(a), arm(b)))
    if arms == ["randinit", "randinit"] and same_init(a, b):
        return "randinit, same init"
    for known in KINDS:
        if sorted(known.split(" & ")) == arms:
            return known
    known_arms = ARMS.keys() - {"other", PRETRAINED}
    return ACROSS if known_arms.issuperset(arms) and set(CONTROLS) & set(arms) else "other"
