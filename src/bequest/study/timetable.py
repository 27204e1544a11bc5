"""In which order would steps run on several devices, and when would they end?

A list schedule: whenever a device is free it takes the first step, in a given order, whose inputs are there. That is
what an engine does; here the clock is not waited for but moved on. Nothing is drawn by chance: the same steps and
seconds give the same timetable.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bequest.study.planned import Planned


@dataclass(frozen=True)
class Timetable:
    """When steps run.

    Attributes:
        begins: seconds from the start, by key.
        ends: likewise.
        device: the device of each step, from 0, by key.
        devices: how many there are.
    """

    begins: Mapping[str, float]
    ends: Mapping[str, float]
    device: Mapping[str, int]
    devices: int

    @property
    def length(self) -> float:
        """Seconds until all steps are done."""
        return max(self.ends.values(), default=0.0)

    @property
    def work(self) -> float:
        """Seconds of all steps together."""
        return sum(self.ends[key] - self.begins[key] for key in self.ends)

    @property
    def busy(self) -> float:
        """Share of the devices' time in which they work, 0..1."""
        return self.work / (self.length * self.devices) if self.length else 1.0

    def most_at_a_time(self) -> int:
        """Give the largest number of steps that run at the same moment."""
        moments = sorted([(end, -1) for end in self.ends.values()] + [(begin, 1) for begin in self.begins.values()])
        most = now = 0
        for _, change in moments:
            now += change
            most = max(most, now)
        return most


def timetable(
    steps: Sequence[Planned],
    seconds: Mapping[str, float],
    devices: int,
    urgency: Mapping[str, float] | None = None,
) -> Timetable:
    """Lay steps on devices.

    Args:
        steps: each after its inputs; an input that is not among them counts as there.
        seconds: how long each takes, by key.
        devices: how many run at a time, one step each.
        urgency: of two steps that could begin, the one with the larger value goes first; left out, the one that stands
            first.

    Returns:
        The timetable.

    Raises:
        ValueError: if there is no device, or the steps need each other in a circle.
    """
    if devices < 1:
        raise ValueError(f"a schedule needs a device or more, not {devices}")
    known = {step.key for step in steps}
    rank = {step.key: (-(urgency[step.key] if urgency else 0.0), place) for place, step in enumerate(steps)}
    missing = {step.key: sum(key in known for key in set(step.inputs)) for step in steps}
    users: dict[str, list[str]] = {}
    for step in steps:
        for key in set(step.inputs) & known:
            users.setdefault(key, []).append(step.key)
    ready = [(rank[key], key) for key, count in missing.items() if not count]
    heapq.heapify(ready)
    free = list(range(devices))
    running: list[tuple[float, int, str]] = []
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    device: dict[str, int] = {}
    now = 0.0
    while ready or running:
        while ready and free:
            key = heapq.heappop(ready)[1]
            device[key] = heapq.heappop(free)
            begins[key], ends[key] = now, now + seconds[key]
            heapq.heappush(running, (ends[key], device[key], key))
        now, where, done = heapq.heappop(running)
        heapq.heappush(free, where)
        for key in users.get(done, ()):
            missing[key] -= 1
            if not missing[key]:
                heapq.heappush(ready, (rank[key], key))
    if len(ends) < len(known):
        raise ValueError("some steps need each other in a circle")
    return Timetable(begins, ends, device, devices)


def longest_after(steps: Sequence[Planned], seconds: Mapping[str, float]) -> dict[str, float]:
    """Give the seconds of the longest chain of steps that begins with each.

    Args:
        steps: each after its inputs.
        seconds: how long each takes, by key.

    Returns:
        By key, the step itself included. The largest value is the least time in which any number of devices is done;
        used as an urgency, the steps on which most waits go first.
    """
    longest = {step.key: seconds[step.key] for step in steps}
    for step in reversed(steps):
        for key in step.inputs:
            if key in longest:
                longest[key] = max(longest[key], seconds[key] + longest[step.key])
    return longest
