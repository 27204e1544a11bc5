"""What do two studies say, side by side?

Both become one: each target carries the name of its study, and those of one name stand next to each other in every
table and row of charts. Nothing is measured between the two, so a difference between their numbers has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from bequest.report.contents import Advice, Failure, ReportInput


def beside(first: ReportInput, second: ReportInput, names: tuple[str, str]) -> ReportInput:
    """Put two studies into one report.

    Args:
        first: what one study found.
        second: what the other one found.
        names: of the two; where they are alike they get a number.

    Returns:
        The contents of the joint report.

    Raises:
        ValueError: if one of them has no targets, as a comparison of weights alone.
    """
    if lacking := next((name for name, one in zip(names, (first, second), strict=True) if not one.targets), None):
        raise ValueError(f"{lacking} has no targets; two studies side by side need some each")
    if names[0] == names[1]:
        names = (f"{names[0]} (1)", f"{names[1]} (2)")
    a, b = (_named(one, name) for one, name in zip((first, second), names, strict=True))
    pair = tuple(zip(names, (first, second), strict=True))
    order = [*first.targets, *(target for target in second.targets if target not in first.targets)]
    targets = [f"{name}: {target}" for target in order for name in names]
    known = {*a.targets, *b.targets}
    return ReportInput(
        title=f"{names[0]} beside {names[1]}",
        targets=tuple(target for target in targets if target in known),
        results={
            name: pl.concat([one.results[name] for one in (a, b) if name in one.results], how="diagonal_relaxed")
            for name in dict.fromkeys([*a.results, *b.results])
        },
        source=f"{first.source} ({names[0]}), {second.source} ({names[1]})" if first.source and second.source else None,
        asked={name: one.asked for name, one in pair},
        done={f"{fact}, {name}": value for name, one in pair for fact, value in one.done.items()},
        sweep=_joined(a.sweep, b.sweep),
        runs=_joined(a.runs, b.runs),
        pictures=(*a.pictures, *b.pictures),
        shuffled=(*a.shuffled, *b.shuffled),
        predictions=(*a.predictions, *b.predictions),
        attributions=tuple(dict.fromkeys([*a.attributions, *b.attributions])),
        repeat=(*a.repeat, *b.repeat),
        failures=(*a.failures, *b.failures),
        left_out=(*a.left_out, *b.left_out),
        advices=_advised(a, b, order, names),
    )


def _advised(a: ReportInput, b: ReportInput, order: Sequence[str], names: tuple[str, str]) -> tuple[Advice, ...]:
    """What both advise: the same decision on the same target stands next to each other."""
    decisions = list(dict.fromkeys(advice.decision for one in (a, b) for advice in one.advices))
    targets = [f"{name}: {target}" for target in order for name in names]

    def place(advice: Advice) -> tuple[int, int]:
        return decisions.index(advice.decision), targets.index(advice.target)

    return tuple(sorted((*a.advices, *b.advices), key=place))


def _named(one: ReportInput, name: str) -> ReportInput:
    """Put the name of a study before each of its targets."""

    def target(text: str | None) -> str | None:
        return None if text is None else f"{name}: {text}"

    def rows(frame: pl.DataFrame | None) -> pl.DataFrame | None:
        if frame is None or "target" not in frame.columns:
            return frame
        said = pl.when(pl.col("target") == "").then(pl.lit(name)).otherwise(f"{name}: " + pl.col("target"))
        return frame.with_columns(target=said)

    return replace(
        one,
        targets=tuple(f"{name}: {text}" for text in one.targets),
        results={key: found for key, frame in one.results.items() if (found := rows(frame)) is not None},
        sweep=rows(one.sweep),
        runs=rows(one.runs),
        pictures=tuple(replace(picture, domain=f"{name}: {picture.domain}") for picture in one.pictures),
        shuffled=tuple(replace(picture, domain=f"{name}: {picture.domain}") for picture in one.shuffled),
        predictions=tuple(replace(said, target=target(said.target)) for said in one.predictions),
        failures=tuple(Failure(f"{name}: {one.step}", one.message, one.traceback) for one in one.failures),
        left_out=tuple((f"{name}: {what}", why) for what, why in one.left_out),
        advices=tuple(
            replace(advice, target=f"{name}: {advice.target}", weights=target(advice.weights)) for advice in one.advices
        ),
    )


def _joined(a: pl.DataFrame | None, b: pl.DataFrame | None) -> pl.DataFrame | None:
    there = [frame for frame in (a, b) if frame is not None]
    return pl.concat(there, how="diagonal_relaxed") if there else None
