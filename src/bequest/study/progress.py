"""How is a person told how a run goes, and when it will end?

On a terminal a bar with an estimate; elsewhere plain lines. The estimate comes from the cost that the plan gives each
step (images through the network) and the seconds that the steps of its kind have taken for theirs so far.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bequest.study.step import Step
from bequest.study.visible import one_line

PATIENCE = 30.0  # seconds without a line
NO_NETWORK = ("images", "texts", "weights")  # kinds of steps that draw and read
LEAST_SHARE = 0.02  # of a running step, before its pace is believed; chosen
WORDS = {"done": "done", "there": "there already", "failed": "FAILED", "left out": "left out: an input failed"}


class Estimate:
    """The time left, from the cost of the steps and the pace of those of their kind.

    Each kind of step has its own pace. One that was not seen yet is taken to go at that of all together, but for those
    that run no network: images are drawn at a pace that says nothing of learning from them.

    Args:
        steps: those that are to be carried out.
        clock: gives seconds.
    """

    def __init__(self, steps: Sequence[Step], clock: Callable[[], float] = time.monotonic) -> None:
        self.total = sum(step.cost for step in steps) or 1.0
        self.done = 0.0
        self._clock, self._began = clock, clock()
        self._begun: dict[str, float] = {}  # key of a step -> when
        # kind -> cost; damaged results that are made again are not among the steps, and may be of another kind
        self._to_do: defaultdict[str, float] = defaultdict(float)
        for step in steps:
            self._to_do[step.function] += step.cost
        self._seen: dict[str, tuple[float, float]] = {}  # kind -> cost, seconds

    def begins(self, step: Step) -> None:
        """Keep in mind when a step began."""
        self._begun[step.key] = self._clock()

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """Learn from a step that ended; one that was not carried out to its end says nothing of a pace."""
        self.done += step.cost
        self._to_do[step.function] -= step.cost
        self._begun.pop(step.key, None)
        if outcome == "done":
            cost, known = self._seen.get(step.function, (0.0, 0.0))
            self._seen[step.function] = cost + step.cost, known + seconds

    def left(self, step: Step | None = None, share: float = 0.0) -> float | None:
        """Give the seconds left.

        Args:
            step: one that runs.
            share: of it that is done, 0..1.

        Returns:
            Seconds; None while nothing is known of most of what is left.
        """
        to_do, seen = self._to_do.copy(), dict(self._seen)
        if step is not None and share >= LEAST_SHARE and step.key in self._begun:
            cost, known = seen.get(step.function, (0.0, 0.0))
            seen[step.function] = cost + share * step.cost, known + self._clock() - self._begun[step.key]
            to_do[step.function] -= share * step.cost
        known_part = math.fsum(max(0.0, to_do[kind]) for kind in seen)
        rest = math.fsum(max(0.0, cost) for cost in to_do.values()) - known_part
        alike = [pace for kind, pace in seen.items() if kind not in NO_NETWORK]
        if not seen or (rest > known_part and not alike):
            return None
        work, seconds = (math.fsum(column) for column in zip(*(alike or seen.values()), strict=True))
        own = math.fsum(max(0.0, to_do[kind]) * taken / cost for kind, (cost, taken) in seen.items() if cost)
        spent = math.fsum(taken for _, taken in seen.values())
        at_once = min(1.0, (self._clock() - self._began) / spent) if spent else 1.0  # below 1 where several run
        return at_once * (own + (rest * seconds / work if work else 0.0))


def spoken(seconds: float | None) -> str:
    """Say a time left in words: `about 40 s left`."""
    if seconds is None:
        return "estimating"
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"


class Lines:
    """One plain line a step, for logs."""

    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._console = console
        self._estimate = Estimate(steps)
        self._number, self._count = 0, len(steps)
        self._step: Step | None = None
        self._said = 0.0

    def begins(self, step: Step) -> None:
        """Keep in mind which step runs."""
        self._step, self._said = step, time.monotonic()
        self._estimate.begins(step)

    def goes_on(self, share: float) -> None:
        """Say how far a long step is, twice a minute."""
        if self._step is None or time.monotonic() - self._said < PATIENCE:
            return
        self._said = time.monotonic()
        left = spoken(self._estimate.left(self._step, share))
        self.says(f"[{self._number + 1}/{self._count}] {self._step.label}: {share:.0%}; {left}")

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """Print a line, unless the result was there."""
        if outcome == "there":
            return
        self._number += 1  # when it ends: several may have begun
        self._estimate.ends(step, outcome, seconds)
        left = spoken(self._estimate.left()) if self._number < self._count else "the last step"
        self.says(f"[{self._number}/{self._count}] {step.label}: {WORDS[outcome]}, {seconds:.1f} s; {left}")

    def says(self, text: str) -> None:
        """Print a line."""
        self._console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *details: object) -> None:
        pass


class Bar:
    """A live bar for terminals."""

    def __init__(self, console: Console, steps: Sequence[Step]) -> None:
        self._estimate = Estimate(steps)
        columns = (
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task: TaskID = self._progress.add_task("", total=self._estimate.total, left="estimating")
        self._step: Step | None = None

    def begins(self, step: Step) -> None:
        """Show what is running."""
        self._step = step
        self._estimate.begins(step)
        self._progress.update(self._task, description=one_line(step.label, 120))

    def goes_on(self, share: float) -> None:
        """Move the bar within the running step."""
        running = share * self._step.cost if self._step else 0.0
        left = spoken(self._estimate.left(self._step, share))
        self._progress.update(self._task, completed=self._estimate.done + running, left=left)

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """Move the bar, and leave a line for what failed."""
        if outcome == "there":
            return
        self._estimate.ends(step, outcome, seconds)
        self._step = None
        self._progress.update(self._task, completed=self._estimate.done, left=spoken(self._estimate.left()))
        if outcome != "done":
            self.says(f"{step.label}: {WORDS[outcome]}")

    def says(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()


def progress(console: Console, steps: Sequence[Step]) -> Bar | Lines:
    """Choose the bar for a terminal and lines for anything else.

    Args:
        console: where it is shown.
        steps: those that are to be carried out.

    Returns:
        A watcher that is also a context manager.
    """
    return Bar(console, steps) if console.is_terminal else Lines(console, steps)
