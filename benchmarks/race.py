"""How long does each way of doing a job take, in one run, on one machine, alternating?

Every benchmark file has `measure(quick) -> list[Row]` and ends with `alone(measure)`, so that it runs by itself too.
Entries take turns, and every other round in reverse order, so that a machine that slows down slows all of them down.
Medians are compared. An entry that fails is kept with its message and takes no further part.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# For ours and peers alike. Threads that spin while they wait are slow where cores are shared.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
# glibc gives the memory of freed tensors back to the system or not as luck has it, and fetching it again page by page
# costs a forward pass of ResNet-50 15 percent and a copy of a large batch three times itself. So nothing is given back.
KEEPING = {"MALLOC_TRIM_THRESHOLD_": str(2**36), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
clock = time.perf_counter


@dataclass(frozen=True)
class Entry:
    """One way of doing the job; `most` bounds the rounds of a slow one, which then is not warmed up either."""

    name: str
    run: Callable[[], Any]
    most: int | None = None


@dataclass(frozen=True)
class Timed:
    """Seconds of each round, what the last one gave, or why the entry failed."""

    seconds: tuple[float, ...]
    result: Any = None
    failure: str | None = None

    @property
    def median(self) -> float:
        if not self.seconds:
            raise ValueError(f"was never timed: {self.failure}")
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Row:
    """One line of the table: ours against one peer. Seconds are medians; None where a peer failed (see the note)."""

    job: str
    what: str  # the size of the job
    ours_s: float | None
    peer: str
    peer_s: float | None
    ratio: float | None  # in the sense of the target
    target: str  # "at least 20", "at most 1.05"
    met: bool | None  # None: could not be compared
    floor: str = ""  # what cannot be done without
    floor_s: float | None = None
    above_floor: float | None = None  # ours over the floor
    note: str = ""


def race(entries: Sequence[Entry], *, rounds: int, warm: int = 1) -> dict[str, Timed]:
    """Run all entries in turn, `rounds` times; `warm` runs before are not counted."""
    seconds: dict[str, list[float]] = {entry.name: [] for entry in entries}
    results: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for turn in range(-warm, rounds):
        for entry in entries if turn % 2 == 0 else list(reversed(entries)):
            bounded = entry.most is not None and (turn < 0 or turn >= entry.most)
            if entry.name in failures or bounded:
                continue
            gc.collect()
            start = clock()
            try:
                result = entry.run()
            except Exception as error:  # a peer may raise anything; it is reported
                failures[entry.name] = f"{type(error).__name__}: {str(error).strip()[:300]}"
                traceback.print_exc()
                continue
            took = clock() - start
            if turn >= 0:
                seconds[entry.name].append(took)
                results[entry.name] = result
    return {name: Timed(tuple(taken), results.get(name), failures.get(name)) for name, taken in seconds.items()}


def faster(job: str, what: str, ours: Timed, peer: str, theirs: Timed, *, least: float, **more: Any) -> Row:
    """Give the row of a target 'at least so many times faster than the peer'; `more` as in `against_floor`."""
    ratio = None if theirs.failure or ours.failure else theirs.median / ours.median
    return _row(job, what, ours, peer, theirs, ratio, f"at least {least:g}", ratio and ratio >= least, **more)


def against_floor(job: str, what: str, ours: Timed, floor: str, bare: Timed, *, most: float, note: str = "") -> Row:
    """Give the row of a target 'at most so many times the floor'; the floor stands in the place of the peer."""
    ratio = None if ours.failure or bare.failure else ours.median / bare.median
    met = None if ratio is None else ratio <= most
    return _row(job, what, ours, floor, bare, ratio, f"at most {most:g}", met, floor=floor, bare=bare, note=note)


def _row(
    job: str,
    what: str,
    ours: Timed,
    peer: str,
    theirs: Timed,
    ratio: float | None,
    target: str,
    met: Any,
    *,
    floor: str = "",
    bare: Timed | None = None,
    note: str = "",
) -> Row:
    failed = [f"{name} failed: {one.failure}" for name, one in (("ours", ours), (peer, theirs)) if one.failure]
    mine, its, least = (None if one is None or one.failure else one.median for one in (ours, theirs, bare))
    above = mine / least if mine is not None and least else None
    note = ". ".join([*failed, *([note] if note else [])])
    met = bool(met) if ratio is not None else (False if ours.failure else None)
    return Row(job, what, mine, peer, its, ratio, target, met, floor, least, above, note)


def absent(job: str, what: str, peer: str, error: BaseException, target: str = "") -> Row:
    """Give the row of a peer that cannot be imported or set up."""
    note = f"{peer} failed: {type(error).__name__}: {str(error).strip()[:300]}"
    return Row(job, what, None, peer, None, None, target, None, note=note)


_LAUNCH = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def peak_memory_of(command: Sequence[str]) -> float:
    """Run a command and give the largest resident memory of it, in MiB.

    A small process starts it: Linux counts the memory of the process that starts a command into the command's peak.
    The memory is managed as it is by default.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    launch = [sys.executable, "-c", _LAUNCH, *command]
    done = subprocess.run(launch, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()[-500:]}")
    return int(done.stdout.split()[-1]) / 1024  # KiB on Linux


def alone(measure: Callable[[bool], list[Row]], *, keep_memory: bool = True) -> None:
    """Run one benchmark from the command line: --quick for few rounds, --json FILE for `run.py`.

    Without `keep_memory` memory is managed as it is by default.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few rounds: for developing, not for figures")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of this process: for a busy machine")
    options = parser.parse_args()
    global clock
    clock = time.process_time if options.cpu else time.perf_counter
    settings = {**WAITING, **KEEPING} if keep_memory else WAITING
    if settings.keys() - os.environ.keys():  # they count from the start of a process
        os.execve(sys.executable, [sys.executable, *sys.argv], {**settings, **os.environ})
    rows = measure(options.quick)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
    else:
        from table import show

        show(rows)
