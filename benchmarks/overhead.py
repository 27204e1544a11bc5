"""What do the plan, the store and the engines cost a step, and do more workers do more?

Steps that do next to nothing: the seconds of a run over their number is what a step costs besides its work. Then the
same run again, which finds everything there. Then steps that sleep, with one, two and four workers of Ray: sleeping
needs no core, so the engine alone limits. Ray is started and its workers are warm before the clock runs.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import race
from race import Row, alone

from bequest.study.engines import local
from bequest.study.engines import ray as on_ray
from bequest.study.step import Context, Function, Step
from bequest.study.store import Artefact, Store

STEPS, LAYER = 2_000, 200  # a layer reads the one before
NAP, NAPS = 0.5, 40
JOB = "overhead"


class Silent:
    def begins(self, step: Step) -> None: ...

    def goes_on(self, share: float) -> None: ...

    def ends(self, step: Step, outcome: str, seconds: float) -> None: ...

    def says(self, text: str) -> None:
        print(text)


def tiny(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    value = arguments["value"] + sum(artefact.json("value") for artefact in inputs.values())
    (folder / "value.json").write_text(json.dumps(value), encoding="utf-8")


def nap(folder: Path, arguments: Mapping[str, Any], inputs: Mapping[str, Artefact], context: Context) -> None:
    time.sleep(NAP)


FUNCTIONS = {"tiny": Function(tiny), "nap": Function(nap)}


def layers(count: int) -> list[Step]:
    """Steps in layers; each reads two of the layer before."""
    steps: list[Step] = []
    for number in range(count):
        before = {} if number < LAYER else {"a": steps[number - LAYER], "b": steps[number - LAYER - number % LAYER]}
        steps.append(Step("tiny", 1, {"value": number}, before, label=f"tiny {number}"))
    return steps


def naps(count: int, workers: int) -> list[Step]:
    return [Step("nap", 1, {"number": number, "of": workers}, {}, label=f"nap {number}") for number in range(count)]


def run(engine: str, steps: Sequence[Step], store: Store) -> float:
    """Seconds of a run that has to succeed."""
    begin = race.clock()
    if engine == "ray":
        outcome = on_ray.run(steps, FUNCTIONS, store, Context("cpu"), Silent())
    else:
        outcome = local.run(steps, FUNCTIONS, store, Context("cpu"), Silent())
    seconds = race.clock() - begin
    if len(outcome.done) + len(outcome.there) != len(steps):
        raise RuntimeError(f"{engine}: {len(outcome.failed)} steps failed")
    return seconds


def measure(quick: bool) -> list[Row]:
    import ray

    count, sleeps = (200, 8) if quick else (STEPS, NAPS)
    rows: list[Row] = []
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # of the disk that is asked about, not of a RAM disk
        rows += costs("local", layers(count), Store(Path(folder) / "local"), most=0.005)
        for workers in (2, 1, 4):
            ray.init(
                address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
            )
            warm(Store(Path(folder) / f"warm {workers}"), workers)
            if workers == 2:
                rows += costs("ray", layers(count), Store(Path(folder) / "ray"), most=0.030)
            rows.append(napping(workers, sleeps * workers, Store(Path(folder) / f"naps {workers}")))
            ray.shutdown()
    one = next(row for row in rows if row.what.startswith("1 worker"))
    return [row if row.peer_s is None else efficiency(row, one) for row in rows]


def warm(store: Store, workers: int) -> None:
    """Have every worker's process started."""
    run("ray", naps(2 * workers, -workers), store)


def costs(engine: str, steps: Sequence[Step], store: Store, most: float) -> list[Row]:
    """Rows of the first run and of the second, which finds everything there."""
    each = run(engine, steps, store) / len(steps)
    again = run(engine, steps, store)
    what = f"{len(steps):,} tiny steps, {engine}"
    return [
        Row(JOB, f"{what}: a step", each, "", None, None, f"at most {1000 * most:g} ms", each <= most),
        Row(JOB, f"{what}: all there", again, "", None, None, "at most 2 s", again <= 2.0),
    ]


def napping(workers: int, count: int, store: Store) -> Row:
    """Seconds a step beside what sleeping takes; `peer_s` is the bare nap shared among the workers."""
    seconds = run("ray", naps(count, workers), store) / count
    what = f"{workers} worker{'s' if workers > 1 else ''}, naps of {NAP} s"
    return Row(JOB, what, seconds, "the naps alone", NAP / workers, None, "", None)


def efficiency(row: Row, one: Row) -> Row:
    """The steps per second of several workers over so many times those of one."""
    assert row.ours_s and one.ours_s and row.peer_s
    workers = round(NAP / row.peer_s)
    ratio = one.ours_s / (workers * row.ours_s)
    target, met = ("at least 0.9", ratio >= 0.9) if workers == 4 else ("", None)
    note = f"{1 / row.ours_s:.2f} steps a second; the ratio is to {workers} times those of one worker"
    return Row(row.job, row.what, row.ours_s, row.peer, row.peer_s, ratio, target, met, note=note)


if __name__ == "__main__":
    alone(measure, keep_memory=False)
