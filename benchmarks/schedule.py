"""How long would 10,000 trainings take on 100 GPUs, and what do planning and scheduling them cost here?

The plans are made by the code that plans any study, on domains as large as those of DomainNet whose images are never
drawn. The clock is not waited for but moved on: a step takes its images at an assumed pace, which is a parameter and no
measurement; `bequest plan STUDY` gives that of a network on a device. What is measured is what planning and scheduling
take on this machine, and how far a schedule is from the least that any could take.

    python benchmarks/schedule.py --pace 3000 --devices 100 --details
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from race import Row, alone

# Images in the official lists of DomainNet, train and test; as in the paper at most 50,000 of each are taken.
DOMAINS = {
    "clipart": (33_525, 14_604),
    "infograph": (36_023, 15_582),
    "painting": (50_416, 21_850),
    "quickdraw": (120_750, 51_750),
    "real": (120_906, 52_041),
    "sketch": (48_212, 20_916),
}
MOST = 50_000
VALIDATION = 10  # every tenth training image
CLASSES = 345
NETWORKS = ("resnet18", "resnet50", "fixup_resnet50")
SOURCES = ("real", "painting", "sketch", "clipart", "infograph")
REPLICAS = 6
PACE = 3000.0  # images through a network in a second, without learning: assumed
DEVICES = 100


@dataclass(frozen=True)
class Laid:
    """A schedule and what it is made of."""

    trainings: int
    steps: int
    learned: float
    kept: float
    work: float
    least: float
    length: float
    busy: float
    planning_s: float
    scheduling_s: float
    last: str


def study(network: str, source: str, replicas: int, **analyses):
    """One study: pre-train on a domain, go to the three after it, in the order of the list."""
    from bequest.study.spec import Study

    names = list(DOMAINS)
    first = names.index(source) + 1
    targets = [names[(first + step) % len(names)] for step in range(3)]
    recipe = {"epochs": 100, "batch_size": 256, "augmentation": "crop+flip", "evaluate_every": 5}
    rates = [0.003, 0.01, 0.03]
    return Study.model_validate(
        {
            "name": f"{network}-{source}",
            "model": network,
            "size": 224,
            "source": {"data": [f"sized:{source}"], "recipe": recipe},
            "targets": {name: {"data": f"sized:{name}"} for name in targets},
            "arms": {
                "replicas": replicas,
                "learning_rates": {"finetune": rates, "randinit": rates},
                "recipe": recipe,
            },
            "analyses": analyses
            or {"learning_curves": {}, "block_shuffle": {}, "checkpoints": {}, "mistakes": {}, "similarity": {}}
            | {"distance": {}, "barrier": {"points": 21, "splits": ["test"]}, "criticality": {}, "spectrum": {}},
        }
    )


@lru_cache
def sized(name: str):
    """A domain of the size of one of DomainNet's; there is nothing to draw."""
    from bequest.data.source import Record, Source

    train, test = (min(MOST, count) for count in DOMAINS[name])
    sides = ["validation" if place % VALIDATION == 0 else "train" for place in range(train)] + ["test"] * test
    records = tuple(
        Record(f"{name}/{place}", f"{name}/{place}", place % CLASSES, _undrawn, side)
        for place, side in enumerate(sides)
    )
    return Source(f"sized:{name}", tuple(f"class {number}" for number in range(CLASSES)), records, "nobody")


def _undrawn(size: int):
    raise RuntimeError("images of this domain are counted, not drawn")


def lay(studies, *, pace: float = PACE, devices: int = DEVICES, first: str = "longest") -> Laid:
    """Plan studies with the real code, and lay all their steps on devices.

    Args:
        studies: study files, checked.
        pace: images a second through each network.
        devices: how many work at a time.
        first: `longest`: on which most waits; `plan`: what stands first.
    """
    from bequest.data import doors
    from bequest.study.estimating import works
    from bequest.study.plan import plan
    from bequest.study.planned import noted
    from bequest.study.timetable import longest_after, timetable

    doors.DOORS = {**doors.DOORS, **{f"sized:{name}": partial(sized, name) for name in DOMAINS}}
    begin = time.perf_counter()
    steps, kept, learned = {}, 0.0, 0.0
    for one in studies:
        made = plan(one)
        listed = made.steps()
        for work in works(made, listed):
            if work.step.key not in steps:  # the domains are drawn once for all
                kept += work.kept
                learned += work.learned
        steps |= {step.key: step for step in listed if step.key not in steps}
    planned = noted(steps.values())
    planning = time.perf_counter() - begin
    begin = time.perf_counter()
    seconds = {step.key: step.cost / pace for step in planned}
    chains = longest_after(planned, seconds)
    laid = timetable(planned, seconds, devices, chains if first == "longest" else None)
    took = time.perf_counter() - begin
    end = max(planned, key=lambda step: laid.ends[step.key])
    trainings = sum(step.function == "train" for step in planned)
    return Laid(
        trainings, len(planned), learned, kept, laid.work,
        max(laid.work / devices, max(chains.values())), laid.length, laid.busy, planning, took,
        end.label,
    )  # fmt: skip


def many():
    """The studies of about 10,000 trainings."""
    return [study(network, source, REPLICAS) for network in NETWORKS for source in SOURCES]


def measure(quick: bool) -> list[Row]:
    studies = many()[:2] if quick else many()
    rows = []
    for first in ("plan", "longest"):
        laid = lay(studies, first=first)
        order = "in the order of the plans" if first == "plan" else "what most waits for first"
        note = (
            f"{laid.steps:,} steps; with a pace of {PACE:g} images a second assumed: {laid.length / 3600:,.0f} hours, "
            f"at least {laid.least / 3600:,.0f}; {laid.busy:.0%} busy; planning {laid.planning_s:.1f} s, "
            f"scheduling {laid.scheduling_s:.2f} s"
        )
        what = f"{laid.trainings:,} trainings on {DEVICES} devices, {order}"
        took, ratio = laid.planning_s + laid.scheduling_s, laid.length / laid.least
        least = ("the least possible", None, ratio, "at most 1.05", ratio <= 1.05)
        rows.append(Row("schedule", what, took, *least, note=note))
    return rows


def details(pace: float, devices: int) -> None:
    """Print the figures of docs/scale.md."""
    for first in ("plan", "longest"):
        laid = lay(many(), pace=pace, devices=devices, first=first)
        print(f"{first} first, {devices} devices at {pace:g} images a second")
        for name, value in vars(laid).items():
            print(f"  {name}: {value:,.2f}" if isinstance(value, float) else f"  {name}: {value}")
    for count in (1, 10, 100, 300, 1000):
        laid = lay(many(), pace=pace, devices=count)
        print(f"{count:>5} devices: {laid.length / 3600:>9,.0f} hours, busy {laid.busy:.1%}, the last: {laid.last}")
    for replicas in (3, 6, 12, 24):
        one = study("resnet50", "real", replicas)
        laid = lay([one], pace=pace, devices=devices)
        print(f"{replicas:>3} replicas: {laid.trainings:,} trainings, {laid.work / 3600:,.0f} device-hours")


if __name__ == "__main__":
    if "--details" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--details", action="store_true")
        parser.add_argument("--pace", type=float, default=PACE)
        parser.add_argument("--devices", type=int, default=DEVICES)
        options = parser.parse_args()
        details(options.pace, options.devices)
    else:
        alone(measure)
