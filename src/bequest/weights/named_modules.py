"""Which modules do the names of tensors tell of, where there is no network to run?

The names make a tree, and its shapes say what a block is: a part with two weight matrices or more. From the root down,
what is a list (children called 0, 1, 2) or holds a list of blocks is opened, and anything else is a module: `conv1`,
`layer1.0`, `encoder.layer.3`, `model.layers.5`, `fc`. So the modules are those that a run of the network gives
(`bequest.modules`), except that norm layers between them stand alone. Their order is that of the numbers in the names;
what is called an embedding or a stem comes first, and what is called a head last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from bequest.weights.modules import Module

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # how torch names buffers of BatchNorm
_FIRST = re.compile(r"(embed|stem|token|^conv1$|^bn1$|^norm1$|^wte$|^wpe$|^shared$|^conv_proj$|^encoder$)")
_LAST = re.compile(
    r"^((final_|fc_)?(layer_?)?norm|norm_f|ln(_f)?|pooler|fc|heads?|classifier|lm_head|score|qa_outputs)$"
)
_NORM = re.compile(r"^(bn|norm)\d*$")
Tree = dict[str, "Tree | None"]


def named_modules(shapes: Mapping[str, Sequence[int]]) -> list[Module]:
    """Group tensors into the modules that people name.

    Args:
        shapes: name of each tensor -> its shape.

    Returns:
        The modules; each tensor is in one.
    """
    tree: Tree = {}
    for name in shapes:
        here = tree
        *path, last = name.split(".")
        for part in path:
            inner = here.get(part)
            if inner is None:
                inner = here[part] = {}
            here = inner
        here.setdefault(last, None)
    found: list[Module] = []
    for unit, names in _units("", tree, shapes):
        parameters = tuple(name for name in names if name.rpartition(".")[2] not in STATISTICS)
        found.append(Module(unit, parameters, tuple(name for name in names if name not in parameters)))
    return found


def _units(path: str, tree: Tree, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, list[str]]]:
    """Units below a part that is opened, with the names of their tensors."""
    for key in sorted(tree, key=_place):
        child = tree[key]
        name = f"{path}.{key}" if path else key
        if child is not None and _opens(name, child, shapes):
            yield from _units(name, child, shapes)
        else:
            yield name, list(_tensors(name, child))


def _opens(name: str, tree: Tree, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Is it a list, or does it hold one of blocks, or is it a name around one other part?"""
    if _is_list(tree) or _holds_blocks(name, tree, shapes):
        return any(child is not None for child in tree.values())
    wrapper = len(tree) == 1 and not name.rpartition(".")[2].isdigit()
    return wrapper and any(child and len(child) > 1 and None not in child.values() for child in tree.values())


def _is_list(tree: Tree) -> bool:
    """Are its parts numbered: `0`, `1`, or `encoder_layer_0`, `denselayer1`?"""
    stems = {re.fullmatch(r"(.*?)(\d+)", key) for key in tree}
    return None not in stems and len({match[1] for match in stems if match}) == 1 and None not in tree.values()


def _holds_blocks(name: str, tree: Tree, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Is half of some list in it blocks, as in `bequest.models.order`?"""
    if None not in tree.values() and _is_list(tree):
        blocks = sum(_matrices(f"{name}.{key}", child, shapes) > 1 for key, child in tree.items())
        if 2 * blocks >= len(tree) and (len(tree) > 1 or "0" in tree):
            return True
    return any(child is not None and _holds_blocks(f"{name}.{key}", child, shapes) for key, child in tree.items())


def _matrices(name: str, tree: Tree | None, shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(len(shapes[tensor]) > 1 for tensor in _tensors(name, tree))


def _tensors(name: str, tree: Tree | None) -> Iterator[str]:
    if tree is None:
        yield name
        return
    for key, child in tree.items():
        yield from _tensors(f"{name}.{key}", child)


def _place(key: str) -> tuple[int, bool, list[tuple[int, int, str]]]:
    """First what is called an embedding, last what is called a head; numbers by their value."""
    rank = 2 if _LAST.search(key) else 0 if _FIRST.search(key) else 1
    parts = [part for part in re.split(r"(\d+)", key) if part]
    return (
        rank,
        rank < 1 and bool(_NORM.search(key)),
        [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts],
    )
