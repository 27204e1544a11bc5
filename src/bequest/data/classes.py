"""Are there classes to tell apart, and enough examples of each to learn from?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bequest.data.source import Split


def check_classes(
    classes: Sequence[str],
    targets: Sequence[int],
    splits: Sequence[Split | None],
    where: str,
    way_out: str,
    what: str = "images",
) -> None:
    """Refuse a set with a single class, or a class with fewer than two examples outside validation and test.

    Args:
        classes: names of the classes.
        targets: class of each example.
        splits: its side; None for one that has none yet.
        where: the folder or file, for messages.
        way_out: what else than adding examples helps, as "remove the class folder".
        what: "images" or "texts", for messages.

    Raises:
        ValueError: if a class has too few, naming it.
    """
    counts = Counter(target for target, split in zip(targets, splits, strict=True) if split in (None, "train"))
    few = [f"{label} has {counts[target]}" for target, label in enumerate(classes) if counts[target] < 2]
    if few:
        raise ValueError(
            f"every class in {where} needs at least two {what} to train on: {', '.join(few)}; add {what} or {way_out}"
        )
    if len(classes) < 2:
        raise ValueError(f"{where} has a single class, {classes[0]}; classification needs two")
