"""How far is a study, told from its folder alone?

Done is what has a result, failed what left a traceback, running what lately gave a sign of life; everything else waits,
or was begun and goes on when the study is run again. Works while a run goes on, from any machine that sees the folder.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bequest.study.planned import Planned
from bequest.study.pulse import Pulse, heard
from bequest.study.store import Artefact

State = Literal["waiting", "running", "done", "failed", "begun", "damaged"]
SHOWN = {"seconds", "device", "peak_memory_mib"}  # of a provenance
TELLING = 0.05  # from this share on, what a step did itself tells more than what others like it did
STATES: tuple[State, ...] = ("waiting", "running", "done", "failed", "begun", "damaged")


@dataclass(frozen=True)
class Line:
    """How far one step is.

    Attributes:
        step: the step.
        state: `begun` is what an interrupted run left, which goes on from there; `damaged` a result that is made again.
        seconds: that it took, or has taken so far.
        left: seconds that it will probably still take; None where nobody can tell.
        device: where it ran or runs.
        memory_mib: peak memory of its process.
        share: of a running step that is done, 0..1.
        note: the message of a failure, or what is damaged.
    """

    step: Planned
    state: State
    seconds: float | None = None
    left: float | None = None
    device: str = ""
    memory_mib: int | None = None
    share: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Standing:
    """How far a study is.

    Attributes:
        lines: a line a step, in the order of the plan.
        driver: the last sign of life of a run in this folder; None if there is none.
        left: seconds to the end if as many steps run at a time as now; None where nobody can tell.
    """

    lines: tuple[Line, ...]
    driver: Pulse | None
    left: float | None

    def count(self, state: State) -> int:
        """Count the steps in a state."""
        return sum(line.state == state for line in self.lines)

    @property
    def going(self) -> bool:
        """Whether a run works in the folder now."""
        return (self.driver is not None and self.driver.alive()) or self.count("running") > 0


@dataclass
class Looking:
    """Looks at a folder again and again; what is done is read once.

    Attributes:
        folder: the study's folder.
        steps: its steps.
        closely: compare small files with their hashes, and large ones with their sizes.
    """

    folder: Path
    steps: Sequence[Planned]
    closely: bool = False
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def look(self) -> Standing:
        """Give how far the study is now."""
        there = {name: set(_names(self.folder / name)) for name in ("partial", "failed", "steps")}
        for key in [key for key in self._known if key not in there["steps"]]:  # damaged, or of older inputs: redone
            del self._known[key]
        lines = [self._line(step, there) for step in self.steps]
        paces = _paces(lines)
        lines = [line if line.state != "running" else _with_left(line, paces) for line in lines]
        return Standing(tuple(lines), heard(self.folder), _left(lines, paces))

    def _line(self, step: Planned, there: dict[str, set[str]]) -> Line:
        damage = ""
        if step.key in there["steps"]:
            record, damage = self._record(step.key)
            if record:
                taken, memory = float(record["seconds"]), int(record["peak_memory_mib"])
                return Line(step, "done", taken, 0.0, str(record["device"]), memory, 1.0)
        if step.key in there["partial"]:
            sign = heard(self.folder / "partial" / step.key)
            if sign and sign.alive():
                taken = max(0.0, time.time() - sign.began)
                where = sign.device if sign.host == socket.gethostname() else f"{sign.device} on {sign.host}"
                return Line(step, "running", taken, None, where, sign.memory_mib, sign.share)
        if step.key in there["failed"]:
            return Line(step, "failed", note=_message(self.folder / "failed" / step.key / "failure.json"))
        if damage:
            return Line(step, "damaged", note=damage)
        return Line(step, "begun" if step.key in there["partial"] else "waiting")

    def _record(self, key: str) -> tuple[dict[str, Any] | None, str]:
        """The provenance of a result, or what is wrong with the result."""
        if key not in self._known:
            place = self.folder / "steps" / key
            damage = Artefact(place).intact(quickly=True) if self.closely else None
            try:
                record = json.loads((place / "provenance.json").read_text(encoding="utf-8"))
                if damage or not (place / "manifest.json").is_file() or not SHOWN <= record.keys():
                    return None, damage or f"{place} is not whole"
            except (OSError, ValueError, AttributeError) as error:
                return None, damage or f"{place / 'provenance.json'} cannot be read: {error}"
            self._known[key] = record
        return self._known[key], ""


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries)
    except FileNotFoundError:
        return


def _message(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return "no message"


def _paces(lines: Sequence[Line]) -> dict[str, float]:
    """Seconds a unit of cost, by function, from what is done; under "" that of all."""
    sums: dict[str, tuple[float, float]] = {}
    for line in lines:
        if line.state == "done":
            for name in (line.step.function, ""):
                seconds, cost = sums.get(name, (0.0, 0.0))
                sums[name] = (seconds + (line.seconds or 0.0), cost + line.step.cost)
    return {name: seconds / cost for name, (seconds, cost) in sums.items() if cost > 0}


def _expected(step: Planned, paces: dict[str, float]) -> float | None:
    pace = paces.get(step.function, paces.get(""))
    return None if pace is None else pace * step.cost


def _with_left(line: Line, paces: dict[str, float]) -> Line:
    taken = line.seconds or 0.0
    if line.share >= TELLING:
        return replace(line, left=taken * (1 - line.share) / line.share)
    expected = _expected(line.step, paces)
    return replace(line, left=None if expected is None else max(0.0, expected - taken))


def _left(lines: Sequence[Line], paces: dict[str, float]) -> float | None:
    parts = [
        line.left if line.state == "running" else _expected(line.step, paces)
        for line in lines
        if line.state in {"running", "waiting", "begun", "damaged"}
    ]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    abreast = max(1, sum(line.state == "running" for line in lines))
    longest = max((line.left or 0.0 for line in lines if line.state == "running"), default=0.0)
    return max(longest, sum(known) / abreast)
