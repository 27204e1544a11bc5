"""Which kinds of augmentation are there?

Apart from `augment`, so that a study file can be checked without loading torch.
"""

from __future__ import annotations

from difflib import get_close_matches

KINDS = ("none", "crop", "flip", "rotate")


def check_kind(kind: str) -> tuple[str, ...]:
    """Take a kind of augmentation apart.

    Args:
        kind: as "crop+flip".

    Returns:
        Its parts.

    Raises:
        ValueError: if a part is unknown, with the nearest known one, or "none" stands beside another.
    """
    parts = tuple(kind.split("+"))
    for part in parts:
        if part not in KINDS:
            near = get_close_matches(part, KINDS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"there is no augmentation {part!r}; {hint}Known: {', '.join(KINDS)}, joined with +")
    if "none" in parts and len(parts) > 1:
        raise ValueError(f"augmentation {kind!r} joins none with something; leave one of them out")
    return parts
