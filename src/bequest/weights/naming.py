"""Which tensor of a file is which tensor of a network, when a wrapper has put something before the names?

Wrappers leave their mark: DataParallel `module.`, torch.compile `_orig_mod.`, a Lightning module the name of its
attribute (`model.`, `net.`). But `model.` is also part of the names of decoders. So without a network only the first
two are taken away; with one, the prefix is that with which the most names agree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_COMPILED = "_orig_mod."
_PARALLEL = "module."


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """Take away what DataParallel and torch.compile put into names.

    Args:
        names: of all tensors in a file.

    Returns:
        Old name to new name, one to one; the same where nothing was put, or where two would become one.
    """
    old = list(names)
    new = [name.replace(_COMPILED, "") for name in old]
    while new and all(name.startswith(_PARALLEL) for name in new):
        new = [name.removeprefix(_PARALLEL) for name in new]
    return dict(zip(old, new if len(set(new)) == len(new) else old, strict=True))


def aligned(names: Collection[str], wanted: Collection[str], *, replace: bool = True) -> dict[str, str]:
    """Find the prefix to take away or to put before names so that the most of them agree with a network's.

    Args:
        names: of the tensors in a file.
        wanted: of the network's tensors.
        replace: whether one prefix may give way to another; with a few names that would fit anything.

    Returns:
        Old name to new name, one to one; the same names where no prefix makes more of them agree.
    """
    goal = set(wanted)
    best = {name: name for name in names}
    # of another network a few names agree under some prefix, too: then the message should have the file's own names
    agree = max(len(goal & best.keys()), min(len(best), len(goal)) // 2)
    for take in ("", *_prefixes(names)):
        for put in ("", *_prefixes(wanted)) if replace or not take else ("",):
            new = {name: put + name.removeprefix(take) if name.startswith(take) else name for name in names}
            values = set(new.values())
            if len(values) == len(new) and len(goal & values) > agree:
                best, agree = new, len(goal & values)
    return best


def _prefixes(names: Collection[str]) -> list[str]:
    """Give the beginnings, up to three parts long, that a quarter of the names or more share; the shortest first."""
    count: dict[str, int] = {}
    for name in names:
        parts = name.split(".")[:-1]
        for length in range(1, min(3, len(parts)) + 1):
            prefix = ".".join(parts[:length]) + "."
            count[prefix] = count.get(prefix, 0) + 1
    common = [prefix for prefix, times in count.items() if 4 * times >= len(names)]
    return sorted(common, key=lambda prefix: (prefix.count("."), prefix))
