"""Which steps can begin now, when several run at a time?

A step is free when all of its inputs have ended, well or not. Those that are free come out in the order of the plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bequest.study.step import Step


class Schedule:
    """Which steps wait for what.

    Args:
        steps: each once, with all that their inputs need among them.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._place = {step.key: place for place, step in enumerate(steps)}
        self._waits: dict[str, set[str]] = {}
        self._steps = {step.key: step for step in steps}
        self._readers: defaultdict[str, list[Step]] = defaultdict(list)
        self._free: list[Step] = []
        for step in steps:
            needed = {given.key for given in step.inputs.values()}
            for key in needed:
                self._readers[key].append(step)
            self._wait(step, needed)

    def free(self) -> list[Step]:
        """Give the steps that have become free since the last call, in the order of the plan."""
        free, self._free = sorted(self._free, key=lambda step: self._place[step.key]), []
        return free

    def ended(self, step: Step) -> None:
        """Say that a step ended, well or not: what waited for it alone becomes free."""
        for reader in self._readers[step.key]:
            waits = self._waits.get(reader.key)
            if waits is not None:
                waits.discard(step.key)
                self._wait(reader, waits)

    def again(self, key: str, reader: Step) -> Step:
        """Say that a step that had ended has to be done again, and that one that read it waits for it.

        Args:
            key: of the step, which becomes free.
            reader: the step that found its result damaged.

        Returns:
            The step of that key.
        """
        for other in self._readers[key]:
            if other.key in self._waits:
                self._waits[other.key].add(key)
        self._wait(reader, {key})
        if self._steps[key] not in self._free:
            self._free.append(self._steps[key])
        return self._steps[key]

    def _wait(self, step: Step, needed: set[str]) -> None:
        if needed:
            self._waits[step.key] = needed
        else:
            self._waits.pop(step.key, None)
            self._free.append(step)
