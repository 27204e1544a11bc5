"""On which side of the split does an image go?

Whole groups go to one side, decided by the SHA-256 of the group's name and nothing else: no seed, no order of files, no
domain. Within each class the groups are sorted by that hash and the list is cut, so that every class has its share on
every side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bequest.data.source import SPLITS, Split

SHARES = (0.5, 1 / 6, 1 / 3)  # chosen: test is the largest that leaves half of the images to learn from


def split_groups(
    groups: Sequence[str], targets: Sequence[int], *, shares: tuple[float, float, float] = SHARES
) -> list[Split]:
    """Give each image its side of the split.

    Args:
        groups: name of the group of each image.
        targets: class of each image; a group that has several classes counts for the class of its first image.
        shares: of train, validation and test in the groups of each class; they sum to 1.

    Returns:
        "train", "validation" or "test" for each image. No group is on two sides. A class with three groups or more is
        on every side; one with two has no validation; one with a single group is in train alone.

    Raises:
        ValueError: if the lengths differ, or the shares are negative or do not sum to 1.
    """
    if len(groups) != len(targets):
        raise ValueError(f"{len(groups)} groups need as many targets, not {len(targets)}")
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of train, validation and test have to be 0 or more and sum to 1, not {shares}")
    first_target: dict[str, int] = {}
    for group, target in zip(groups, targets, strict=True):
        first_target.setdefault(group, target)
    of_class: dict[int, list[str]] = {}
    for group, target in first_target.items():
        of_class.setdefault(target, []).append(group)
    sides: dict[str, Split] = {}
    for members in of_class.values():
        members.sort(key=lambda group: hashlib.sha256(group.encode()).digest())
        counts = split_counts(len(members), shares)
        names = [split for split, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
        sides.update(zip(members, names, strict=True))
    return [sides[group] for group in groups]


def complete_splits(groups: Sequence[str], targets: Sequence[int], given: Sequence[Split | None]) -> list[Split]:
    """Cut from the rest, by hash, what is not given.

    Args:
        groups: name of the group of each example.
        targets: class of each; all 0 where classes do not matter.
        given: its side, or None.

    Returns:
        The given validation and test as they are; the others are cut into train and what is not given, in the
        proportions of `SHARES`.
    """
    rest = [index for index, split in enumerate(given) if split in (None, "train")]
    train, validation, test = (
        SHARES[0],
        0.0 if "validation" in given else SHARES[1],
        0.0 if "test" in given else SHARES[2],
    )
    whole = train + validation + test
    cut = split_groups(
        [groups[index] for index in rest],
        [targets[index] for index in rest],
        shares=(train / whole, validation / whole, test / whole),
    )
    sides = {index: split for index, split in enumerate(given) if split is not None}
    sides.update(zip(rest, cut, strict=True))
    return [sides[index] for index in range(len(given))]


def split_counts(n: int, shares: tuple[float, float, float]) -> tuple[int, int, int]:
    """Cut n groups into train, validation and test: at least one each where n and the shares allow it."""
    least_test, least_validation = int(shares[2] > 0), int(shares[1] > 0)
    test = min(max(least_test, round(n * shares[2])), max(0, n - 1))
    validation = min(max(least_validation, round(n * shares[1])), max(0, n - 1 - test))
    if n >= 3 and least_validation and validation == 0:
        test, validation = test - 1, 1
    return n - validation - test, validation, test
