"""How is a person told how a run goes, and when it will end?

On a terminal a bar with an estimate; elsewhere plain lines. The estimate comes from the cost that the plan gives each
step (images through the network) and the seconds that the steps so far have taken for theirs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bequest.study.step import Step
from bequest.study.visible import one_line

PATIENCE = 30.0  # seconds without a line
WORDS = {"done": "done", "there": "there already", "failed": "FAILED", "left out": "left out: an input failed"}


class Estimate:
    """The time left, from the cost of the steps.

    Args:
        steps: those that are to be carried out.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.total = sum(step.cost for step in steps) or 1.0
        self.done = 0.0
        self.began = time.monotonic()

    def left(self, running: float = 0.0) -> float | None:
        """Give the seconds left.

        Args:
            running: cost of the part of the running step that is done.

        Returns:
            Seconds; None while less than two percent is done.
        """
        done = self.done + running
        if done < 0.02 * self.total:
            return None
        return (time.monotonic() - self.began) * max(0.0, self.total - done) / done


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

    def goes_on(self, share: float) -> None:
        """Say how far a long step is, twice a minute."""
        if self._step is None or time.monotonic() - self._said < PATIENCE:
            return
        self._said = time.monotonic()
        left = spoken(self._estimate.left(share * self._step.cost))
        self.says(f"[{self._number + 1}/{self._count}] {self._step.label}: {share:.0%}; {left}")

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """Print a line, unless the result was there."""
        if outcome == "there":
            return
        self._number += 1  # when it ends: several may have begun
        self._estimate.done += step.cost
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
        self._progress.update(self._task, description=one_line(step.label, 120))

    def goes_on(self, share: float) -> None:
        """Move the bar within the running step."""
        running = share * self._step.cost if self._step else 0.0
        left = spoken(self._estimate.left(running))
        self._progress.update(self._task, completed=self._estimate.done + running, left=left)

    def ends(self, step: Step, outcome: str, seconds: float) -> None:
        """Move the bar, and leave a line for what failed."""
        if outcome == "there":
            return
        self._estimate.done += step.cost
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
