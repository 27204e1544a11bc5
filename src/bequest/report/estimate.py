"""How is it said before a run what the run will take?"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bequest.report.cleaning import size
from bequest.report.session import device_named, whole_plan
from bequest.report.status import duration
from bequest.study.estimating import Work, kind, seconds_of, total, works
from bequest.study.planned import noted
from bequest.study.spec import Study
from bequest.study.timetable import longest_after, timetable

HOUR = 3600.0


def print_estimate(
    study: Study,
    folder: Path,
    device: str,
    *,
    devices: int = 1,
    calibrate: bool = True,
    budget: float = 1.5,
    console: Console | None = None,
) -> None:
    """Print what a study takes; nothing is written.

    Args:
        study: what would be run.
        folder: where its results would go; what is there already is not counted again.
        device: `auto`, `cpu`, `cuda`, `cuda:1`: where the network is timed.
        devices: how many such devices would work at a time.
        calibrate: time the network, to give hours.
        budget: seconds for learning and for measuring, each, for every way of training in the study.
        console: where to; standard output if left out.
    """
    console = console or Console(emoji=False)
    where = device_named(device)
    made, steps = whole_plan(study)
    there = {step.key for step in steps if (folder / "steps" / step.key / "manifest.json").is_file()}
    todo = works(made, [step for step in steps if step.key not in there])
    console.print(_counts(todo), highlight=False)
    if there:
        console.print(f"{len(there)} of {len(steps)} steps are in {folder} already", highlight=False, soft_wrap=True)
    if not calibrate or not todo:
        return
    seconds = seconds_of(made, todo, where, budget)
    parts = ", ".join(f"{name} {duration(value)}" for name, value in total(todo, seconds).items())
    hours = sum(seconds.values()) / HOUR
    console.print(f"\nestimated on {where}: {hours:.2f} hours ({parts})", highlight=False)
    if where.startswith("cuda"):
        on_gpu = sum(seconds[work.step.key] for work in todo if kind(work.step) != "drawing") / HOUR
        console.print(f"GPU-hours: {on_gpu:.2f}", highlight=False)
    else:
        console.print("GPU-hours: not known here; give --device cuda on a machine that has one", highlight=False)
    together = study.resources.training.devices
    if together > 1:
        console.print(
            f"each training was reckoned on one device; the study gives it {together}, so that its hours are fewer, at "
            f"best by {together} times, and its GPU-hours no fewer",
            highlight=False,
            soft_wrap=True,
        )
    if devices > 1:
        planned = noted(work.step for work in todo)
        laid = timetable(planned, seconds, devices)
        least = max(longest_after(planned, seconds).values())
        console.print(
            f"on {devices} devices like it: {laid.length / HOUR:.2f} hours, {laid.busy:.0%} of their time at work; "
            f"on any number at least {least / HOUR:.2f}",
            highlight=False,
            soft_wrap=True,
        )


def _counts(todo: list[Work]) -> Table:
    """Lay out what the kinds of steps take, and the sums."""
    table = Table("", "steps", "images drawn", "learned from", "measured", "optimiser steps", "kept", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in ("drawing", "training", "measuring", "in all"):
        part = [work for work in todo if name in (kind(work.step), "in all")]
        sums = [sum(getattr(work, what) for work in part) for what in ("drawn", "learned", "measured", "trained")]
        table.add_row(name, f"{len(part):,}", *(f"{one:,.0f}" for one in sums), size(sum(work.kept for work in part)))
    return table
