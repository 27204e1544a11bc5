"""Which of several solutions share a basin?

On the straight line between two of them, at evenly spaced points, the error is compared with the straight line between
the errors of the ends, example by example. The height is Entezari's barrier (`bequest.evaluation.barriers`), at the
highest point. Two solutions are `apart` if its 95 percent interval lies above the limit, `together` if it ends at or
below the limit, and `open` where the examples are too few to tell. Where an error is no share of examples there is no
interval, and the height itself decides. A line that is not finite everywhere is a barrier.

Sharing a basin is no equivalence: a may be together with b, and b with c, but a apart from c. So groups are made one
after the other, each begun by the best solution that is left, and joined by every further one, best first, that is not
apart from any in it. Only the lines that this takes are measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from bequest.analyses.intervals import Interval
from bequest.decisions.scores import LIMIT, Scales, Score, paired
from bequest.evaluation.barriers import entezari
from bequest.evaluation.batches import Batches
from bequest.weights.algebra import Weights, lerp

Word = Literal["together", "apart", "open"]


@dataclass(frozen=True)
class Line:
    """The straight line between two solutions.

    Attributes:
        a: name at t = 0.
        b: name at t = 1.
        ts: the points, ends included.
        scores: at each of them.
        height: the barrier, at least 0, with the interval at its highest point; NaN where a score is not finite.
        at: t of the highest point.
        loss_height: the barrier of the loss.
    """

    a: str
    b: str
    ts: tuple[float, ...]
    scores: tuple[Score, ...]
    height: Interval
    at: float
    loss_height: float

    def word(self, limit: float) -> Word:
        """Tell whether the two share a basin, given the highest barrier that counts as none."""
        if not (math.isfinite(self.height.value) and math.isfinite(self.loss_height)):
            return "apart"
        low = self.height.value if self.height.low is None else self.height.low
        high = self.height.value if self.height.high is None else self.height.high
        return "apart" if low > limit else "together" if high <= limit else "open"


@dataclass
class Basins:
    """The lines between some solutions, measured when they are asked for.

    Attributes:
        scales: what measures.
        members: name -> weights.
        batches: the examples.
        points: points on each line, ends included.
        limit: highest barrier that counts as none.
        lines: those measured so far, by their two names in the order of the members.
    """

    scales: Scales
    members: Mapping[str, Weights]
    batches: Batches
    points: int = 5
    limit: float = LIMIT
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    _ends: dict[str, tuple[Weights, Score]] = field(default_factory=dict)

    def between(self, one: str, other: str) -> Line:
        """Give the line between two members."""
        names = list(self.members)
        a, b = sorted((one, other), key=names.index)
        if (a, b) not in self.lines:
            self.lines[a, b] = self._measured(a, b)
        return self.lines[a, b]

    def groups(self, ranked: Sequence[str]) -> list[list[str]]:
        """Sort members into groups that share a basin.

        Args:
            ranked: names, best first.

        Returns:
            The groups, that of the best member first; each in the order of rank.
        """
        found: list[list[str]] = []
        left = list(ranked)
        while left:
            group = [left[0]]
            for name in left[1:]:
                if all(self.between(one, name).word(self.limit) != "apart" for one in group):
                    group.append(name)
            found.append(group)
            left = [name for name in left if name not in group]
        return found

    def worst(self, names: Sequence[str]) -> Line | None:
        """Give the line with the highest barrier among those measured that touch one of the names."""
        touching = [line for line in self.lines.values() if line.a in names or line.b in names]
        return max(touching, key=lambda line: _finite(line.height.value), default=None)

    def _measured(self, a: str, b: str) -> Line:
        ts = [place / (self.points - 1) for place in range(self.points)]
        scores = [self.end(a)[1]]
        for t in ts[1:-1]:
            mixed = lerp(self.members[a], self.members[b], t)
            scores.append(self.scales.score(self.scales.refitted(mixed), self.batches))
        scores.append(self.end(b)[1])
        errors, losses = [score.error for score in scores], [score.loss for score in scores]
        above = [score.error - (1 - t) * errors[0] - t * errors[-1] for t, score in zip(ts, scores, strict=True)]
        top = max(range(1, len(ts) - 1), key=lambda place: _finite(above[place]))
        height = Interval(entezari(errors, ts), None, None, scores[0].n)
        if (wrong := _all_wrong(scores)) is not None and math.isfinite(height.value):
            at_top = paired(wrong[top] - (1 - ts[top]) * wrong[0] - ts[top] * wrong[-1])
            height = Interval(height.value, at_top.low, at_top.high, at_top.n)
        return Line(a, b, tuple(ts), tuple(scores), height, ts[top], entezari(losses, ts))

    def end(self, name: str) -> tuple[Weights, Score]:
        """A member as this protocol sees it, with refitted statistics as every point between, and its score."""
        if name not in self._ends:
            refitted = self.scales.refitted(self.members[name])
            self._ends[name] = refitted, self.scales.score(refitted, self.batches)
        return self._ends[name]


def _all_wrong(scores: Sequence[Score]) -> torch.Tensor | None:
    """Whether each example was answered wrongly at each point, [points, n]."""
    wrong = [score.wrong for score in scores if score.wrong is not None]
    return torch.stack(wrong) if len(wrong) == len(scores) else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
