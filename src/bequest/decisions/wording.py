"""How are errors, differences and lists of names written in an advice?"""

from __future__ import annotations

from collections.abc import Sequence

from bequest.analyses.intervals import Interval
from bequest.decisions.scores import Score
from bequest.evaluation.tasks import Task


def errors(task: Task, value: Score | float) -> str:
    """Write an error: `12.5 %` for a share of examples, `0.125` otherwise."""
    number = value.error if isinstance(value, Score) else value
    return f"{100 * number:.1f} %" if task.shares else f"{number:.3g}"


def height(task: Task, value: float) -> str:
    """Write the height of a barrier: `12.5 points of error` for a share of examples, `0.125` otherwise."""
    return f"{100 * value:.1f} points of error" if task.shares else f"{value:.3g}"


def apart(task: Task, interval: Interval) -> str:
    """Write a difference of errors, as in `2.0 points less (95 % interval 0.5 to 3.5) than`."""
    scale, unit, form = (100.0, " points", ".1f") if task.shares else (1.0, "", ".3g")
    sign = -1.0 if interval.value < 0 else 1.0
    word = "less" if interval.value < 0 else "more"
    text = f"{abs(scale * interval.value):{form}}{unit} {word}"
    if interval.low is not None and interval.high is not None:
        ends = sorted((sign * scale * interval.low, sign * scale * interval.high))
        text += f" (95 % interval {ends[0]:{form}} to {ends[1]:{form}})"
    return f"{text} than"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Write names as `a, b and c`; of many the first ones and a count."""
    shown = [*names[:most], f"{len(names) - most} more"] if len(names) > most + 1 else list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
