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

import race
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
REPLICAS = 8
PACE = 3000.0  # images through a network in a second, without learning: assumed
DEVICES = 100


@dataclass(frozen=True)
class Asked:
    """The steps of some studies, those that they share once, and what planning them took."""

    steps: tuple
    trainings: int
    learned: float  # images
    kept: float  # bytes
    planning_s: float


@dataclass(frozen=True)
class Laid:
    """A timetable in seconds of the moved clock, beside the least that is possible."""

    work: float
    longest: float
    least: float
    length: float
    busy: float
    last: str
    laying_s: float  # measured here


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


def ask(studies) -> Asked:
    """Plan studies with the code that plans any study."""
    from bequest.data import doors
    from bequest.study.estimating import works
    from bequest.study.plan import plan
    from bequest.study.planned import noted

    doors.DOORS = {**doors.DOORS, **{f"sized:{name}": partial(sized, name) for name in DOMAINS}}
    begin = race.clock()
    todo = {}
    for one in studies:
        made = plan(one)
        for work in works(made, made.steps()):
            todo.setdefault(work.step.key, work)  # the domains are drawn once for all
    steps = tuple(noted(work.step for work in todo.values()))
    trainings = sum(step.function == "train" for step in steps)
    learned, kept = (sum(getattr(work, name) for work in todo.values()) for name in ("learned", "kept"))
    return Asked(steps, trainings, learned, kept, race.clock() - begin)


def lay(asked: Asked, *, pace: float = PACE, devices: int = DEVICES, first: str = "longest") -> Laid:
    """Lay steps on devices; first goes what most waits for (`longest`), or what stands first (`plan`)."""
    from bequest.study.timetable import longest_after, timetable

    begin = race.clock()
    seconds = {step.key: step.cost / pace for step in asked.steps}
    chains = longest_after(asked.steps, seconds)
    laid = timetable(asked.steps, seconds, devices, chains if first == "longest" else None)
    took = race.clock() - begin
    longest = max(chains.values())
    last = max(asked.steps, key=lambda step: laid.ends[step.key]).label
    return Laid(laid.work, longest, max(laid.work / devices, longest), laid.length, laid.busy, last, took)


def many():
    """The studies of about 10,000 trainings."""
    return [study(network, source, REPLICAS) for network in NETWORKS for source in SOURCES]


def measure(quick: bool) -> list[Row]:
    asked = ask(many()[:2] if quick else many())
    rows = []
    for first in ("plan", "longest"):
        laid = lay(asked, first=first)
        order = "in the order of the plans" if first == "plan" else "what most waits for first"
        note = (
            f"{len(asked.steps):,} steps; at an assumed {PACE:g} images a second {laid.length / 3600:,.0f} hours, at "
            f"least {laid.least / 3600:,.0f}, {laid.busy:.0%} busy; planning {asked.planning_s:.1f} s, laying "
            f"{laid.laying_s:.2f} s"
        )
        what = f"{asked.trainings:,} trainings on {DEVICES} devices, {order}"
        took, ratio = asked.planning_s + laid.laying_s, laid.length / laid.least
        least = ("the least possible", None, ratio, "at most 1.05", ratio <= 1.05)
        rows.append(Row("schedule", what, took, *least, note=note))
    return rows


def details(pace: float, devices: int) -> None:
    """Print the figures of docs/scale.md."""
    asked = ask(many())
    print(f"{asked.trainings:,} trainings in {len(asked.steps):,} steps, planned in {asked.planning_s:.1f} s")
    print(f"{asked.learned:,.0f} images learned from, {asked.kept / 1e12:.2f} TB kept")
    sums: dict[str, float] = {}
    for step in asked.steps:
        sums[step.function] = sums.get(step.function, 0.0) + step.cost / pace / 3600
    print("device-hours: " + ", ".join(f"{name} {hours:,.1f}" for name, hours in sums.items()))
    for first in ("plan", "longest"):
        laid = lay(asked, pace=pace, devices=devices, first=first)
        print(f"{first} first, {devices} devices at {pace:g} images a second: {laid}")
    for count in (1, 10, 100, 300, 1000):
        laid = lay(asked, pace=pace, devices=count)
        print(f"{count:>5} devices: {laid.length / 3600:>9,.0f} hours, busy {laid.busy:.1%}, the last: {laid.last}")
    for replicas in (3, 6, 12, 24):
        one = ask([study("resnet50", "real", replicas)])
        hours = {"train": 0.0, "barrier": 0.0, "criticality": 0.0, "all": 0.0}
        for step in one.steps:
            for name in {step.function, "all"} & hours.keys():
                hours[name] += step.cost / pace / 3600
        shown = ", ".join(f"{name} {value:,.1f}" for name, value in hours.items())
        print(f"{replicas:>3} replicas: {one.trainings:,} trainings; device-hours: {shown}; {one.planning_s:.1f} s")


if __name__ == "__main__":
    if "--details" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--details", action="store_true")
        parser.add_argument("--pace", type=float, default=PACE)
        parser.add_argument("--devices", type=int, default=DEVICES)
        parser.add_argument("--cpu", action="store_true", help="CPU seconds of this process: for a busy machine")
        options = parser.parse_args()
        if options.cpu:
            race.clock = time.process_time
        details(options.pace, options.devices)
    else:
        alone(measure)
