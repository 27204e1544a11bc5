"""Which axes of a network's tensors must be reordered together?

An axis is a row of segments: channels of some group, each repeated as often as a flattened image has pixels. What the
network does with two axes (adds them, reads one with the other) joins them: their groups become one. An axis joined
with one that has an order of its own (pixels, colours, classes) is fixed: nothing on it may be reordered.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

FIXED = 0  # the group of all entries that keep their place


class Segment(NamedTuple):
    """A stretch of an axis: `size` channels of a group, `repeat` neighbouring entries each."""

    group: int
    size: int
    repeat: int = 1

    @property
    def span(self) -> int:
        """Entries on the axis."""
        return self.size * self.repeat


Axis = tuple[Segment, ...]


class ChannelGroups:
    """Which groups were found to be one, or to be rows of others."""

    def __init__(self) -> None:
        self._bound: dict[int, Axis] = {}
        self._numbers = count(FIXED + 1)

    def new(self, size: int) -> Axis:
        """Give an axis of a new group; a single entry has nothing to reorder."""
        return (Segment(next(self._numbers), size),) if size > 1 else fixed(size)

    def resolve(self, axis: Axis) -> Axis:
        """Give an axis in terms of groups that are still free."""
        found: list[Segment] = []
        for segment in axis:
            if segment.group in self._bound:
                parts = self.resolve(self._bound[segment.group])
                found += [Segment(part.group, part.size, part.repeat * segment.repeat) for part in parts]
            else:
                found.append(segment)
        merged: list[Segment] = []
        for segment in found:
            if segment.group == FIXED and merged and merged[-1].group == FIXED:
                merged[-1] = Segment(FIXED, merged[-1].span + segment.span)
            else:
                merged.append(Segment(FIXED, segment.span) if segment.group == FIXED else segment)
        return tuple(merged)

    def is_fixed(self, axis: Axis) -> bool:
        """Tell whether nothing on the axis can be reordered."""
        return all(segment.group == FIXED for segment in self.resolve(axis))

    def join(self, first: Axis, second: Axis) -> None:
        """Make two axes of one length be reordered together.

        Args:
            first: one axis.
            second: the other.

        Raises:
            ValueError: if their channels lie differently, so that no reordering fits both.
        """
        left, right = self.resolve(first), self.resolve(second)
        if sum(segment.span for segment in left) != sum(segment.span for segment in right):
            raise ValueError("axes of different lengths meet")
        while left and right:
            x, y = left[0], right[0]
            if x == y:
                left, right = left[1:], right[1:]
                continue
            if x.group == y.group == FIXED:
                left, right = _split(left, min(x.span, y.span)), _split(right, min(x.span, y.span))
                left, right = left[1:], right[1:]
                continue
            self._meet(left, right)
            left, right = self.resolve(left), self.resolve(right)

    def _meet(self, left: Axis, right: Axis) -> None:
        """Bind one of the two groups at the front, which are not the same."""
        x, y = left[0], right[0]
        if FIXED in (x.group, y.group):
            free = x if y.group == FIXED else y
            self._bound[free.group] = fixed(free.size)
        elif x.repeat == 1 and (row := _front(right, x.span)) and all(part.group != x.group for part in row):
            self._bound[x.group] = row
        elif y.repeat == 1 and (row := _front(left, y.span)) and all(part.group != y.group for part in row):
            self._bound[y.group] = row
        elif (x.size, x.repeat) == (y.size, y.repeat) and x.group != y.group:
            self._bound[x.group] = (Segment(y.group, y.size),)
        else:
            raise ValueError("channels that lie differently along an axis meet")


def fixed(size: int) -> Axis:
    """Give an axis on which nothing may be reordered."""
    return (Segment(FIXED, size),)


def _front(axis: Axis, span: int) -> Axis:
    """Give the first segments of an axis that together are as long as `span`; empty if none are."""
    total = 0
    for index, segment in enumerate(axis):
        total += segment.span
        if total == span:
            return axis[: index + 1]
    return ()


def _split(axis: Axis, at: int) -> Axis:
    """Cut the first segment, a fixed one, so that it is `at` long."""
    rest = axis[0].span - at
    return (*fixed(at), *(fixed(rest) if rest else ()), *axis[1:])


def reshaped(axes: tuple[Axis, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[Axis, ...]:
    """Follow axes through a reshape.

    Args:
        axes: resolved axes of the old shape.
        old: the old shape.
        new: the new shape, of as many entries.

    Returns:
        The axes of the new shape.

    Raises:
        ValueError: if channels end up on an axis in a way that no reordering of them follows.
    """
    found: list[Axis] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j, before, after = i, j, 1, 1
        while i == start_i or j == start_j or before != after:
            if i < len(old) and (before <= after or j == len(new)):
                before *= old[i]
                i += 1
            elif j < len(new):
                after *= new[j]
                j += 1
            else:
                break  # only axes of length one are left on the other side
        sources = [axes[k] for k in range(start_i, i) if old[k] != 1]
        targets = [size for size in new[start_j:j] if size != 1]
        parts = iter(_block(sources, targets))
        found += [fixed(1) if size == 1 else next(parts) for size in new[start_j:j]]
    return tuple(found)


def _block(sources: list[Axis], targets: list[int]) -> list[Axis]:
    """Follow the smallest block of axes that a reshape mixes."""
    if all(segment.group == FIXED for axis in sources for segment in axis):
        return [fixed(size) for size in targets]
    if len(sources) == len(targets) == 1:
        return sources
    first = sources[0]
    if len(targets) == 1 and all(segment.group == FIXED for axis in sources[1:] for segment in axis):
        pixels = 1
        for axis in sources[1:]:
            pixels *= sum(segment.span for segment in axis)
        return [tuple(Segment(part.group, part.size, part.repeat * pixels) for part in first)]
    if len(sources) == 1 and len(first) == 1 and first[0].size == targets[0]:
        return [(Segment(first[0].group, first[0].size),), *(fixed(size) for size in targets[1:])]
    raise ValueError("a reshape splits or interleaves channels")
