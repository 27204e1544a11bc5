"""Which images of train are also among those held out?

An image that was there while training, or while choosing, would be remembered, not recognised. Copies are files with
the same bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from bequest.data.source import Split


def without_copies(
    digests: Sequence[str], splits: Sequence[Split | None], where: str, *, what: str = "images"
) -> list[int]:
    """Leave out of train and validation what test has, and out of train what validation has.

    Args:
        digests: of the bytes of each image.
        splits: its side; None for one that has none yet, which is taken for train.
        where: the folder or file, for the warning.
        what: "images" or "texts", for the warning.

    Returns:
        Indices of the images that stay, ascending. A warning says how many do not.
    """
    held_out: set[str] = set()
    left_out: set[int] = set()
    for split, others in (("test", ""), ("validation", "test"), ("train", "validation or test")):
        part = [index for index, side in enumerate(splits) if (side or "train") == split]
        copies = [index for index in part if digests[index] in held_out]
        if copies:
            same = "files" if what == "images" else what
            warnings.warn(
                f"{len(copies)} {split} {what} of {where} are left out: the same {same} are in {others}", stacklevel=3
            )
        left_out.update(copies)
        held_out.update(digests[index] for index in part)
    return [index for index in range(len(digests)) if index not in left_out]
