"""How do examples out of a table or a shard become a source?

What is common to all formats: equal contents, or what a list calls one group, end on one side; sides that are given
are kept, and what they lack is cut from train by hash; copies of held-out examples are left out of train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bequest.data.classes import check_classes
from bequest.data.copies import without_copies
from bequest.data.inside import shortened
from bequest.data.source import Draw, Record, Source, Split, Target
from bequest.data.splits import complete_splits


@dataclass(frozen=True)
class Example:
    """One image or text before it has a side of the split.

    Attributes:
        name: unique within its source.
        target: see `Record`.
        digest: the same for the same content.
        split: the side that is given for it, or None.
        draw: see `Record`.
        group: what a list calls its group; None takes the digest.
        text: see `Record`.
    """

    name: str
    target: Target
    digest: str
    split: Split | None = None
    draw: Draw | None = None
    group: str | None = None
    text: str | None = None


def assemble(
    name: str,
    classes: Sequence[str],
    examples: Sequence[Example],
    *,
    where: str,
    attribution: str,
    files: Sequence[Path],
    recipe: str = "",
) -> Source:
    """Make a source of examples.

    Args:
        name: of the source.
        classes: names of the classes; none for texts that are to be said and not told apart.
        examples: in a fixed order.
        where: the file or folder, for messages.
        attribution: of the source.
        files: all that is read.
        recipe: of the source.

    Returns:
        The source, in the order of the examples, without the copies; a warning counts those.

    Raises:
        ValueError: if there are no examples, a name appears twice, a group is given on two sides, or a class has too
            few examples to train on.
    """
    if not examples:
        raise ValueError(f"{where} holds no examples")
    _check_names_and_groups(examples, where)
    what = "images" if examples[0].text is None else "texts"
    stay = without_copies([one.digest for one in examples], [one.split for one in examples], where, what=what)
    left = [examples[index] for index in stay]
    # No strata with several labels: a group has many of them.
    strata = [one.target if isinstance(one.target, int) else 0 for one in left]
    if classes and not isinstance(left[0].target, tuple):
        check_classes(classes, strata, [one.split for one in left], where, "leave the class out", what)
    groups = [one.digest if one.group is None else one.group for one in left]
    sides = complete_splits(groups, strata, [one.split for one in left])
    stay = without_copies([one.digest for one in left], sides, where, what=what)  # equal contents under two groups
    records = (
        Record(left[index].name, groups[index], left[index].target, left[index].draw, sides[index], left[index].text)
        for index in stay
    )
    return Source(name, tuple(classes), tuple(records), attribution, files=tuple(files), recipe=recipe)


def _check_names_and_groups(examples: Sequence[Example], where: str) -> None:
    seen: set[str] = set()
    side_of: dict[str, Split | None] = {}
    torn: dict[str, None] = {}
    for one in examples:
        if one.name in seen:
            raise ValueError(f"{where} names {one.name} twice; keep one row, with all of its labels")
        seen.add(one.name)
        if one.group is not None and side_of.setdefault(one.group, one.split) != one.split:
            torn[one.group] = None
    if torn:
        raise ValueError(
            f"{where} has {len(torn):,} groups on two sides of the split: {shortened(list(torn))}; "
            "mend the split, or leave one of the two columns out"
        )
