"""May these files be merged, how good are they, and how alike?

The first screen of a comparison of files with a network and data: a few sentences, each from the rows below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from bequest.analyses.pairs import PRETRAINED
from bequest.report.contents import Advice, ReportInput

MOST_NAMED = 4  # models that are named one by one
BASELESS = (
    "How far each went from where it started, which modules carry that, and whether a mix with the start is better: no "
    "base was given (`--base FILE`)."
)


def merging(report: ReportInput) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
    """Answer what somebody with two files of weights asks first.

    Args:
        report: of a comparison, with the targets that it was measured on.

    Yields:
        A question, its sentences (there may be none), each after its target where there are several, and the id of the
        section that shows it.
    """
    several = len(report.targets) > 1
    based = report.source is not None
    merged, good, alike = (list[tuple[str, str]]() for _ in range(3))
    for target in report.targets:
        about = target if several else ""
        here = {name: _of(rows, target) if several else rows for name, rows in report.results.items()}
        soups = [one for one in report.advices if one.decision == "soup" and one.target == target]
        merged += ((about, line) for soup in soups for line in _merged(soup))
        good += ((about, line) for line in _good(here))
        alike += ((about, line) for line in _alike(here, based=based))
    yield "May they be merged", merged, "advices"
    yield "How good they are", good, "mistakes"
    yield "How alike they are", alike, "mistakes"
    yield "What this cannot say", [] if based else [("", BASELESS)], ""


def _of(rows: pl.DataFrame, target: str) -> pl.DataFrame:
    return rows.filter(pl.col("target") == target)


def _merged(soup: Advice) -> Iterator[str]:
    first, *rest = soup.sentence.rstrip(".").split("; ")
    groups = soup.rows.filter(metric="group")
    lines = soup.rows.filter(metric="barrier_error").drop_nulls("value")
    lines = lines.sort(pl.coalesce("high", "value"), descending=True)  # the one of which least is known, first
    if soup.sure == "refused":
        yield f"No. {first}."
        yield from (f"Besides, {one}" for one in rest if "than guessing" in one)
        return
    guessing = [one for one in rest if one.startswith("not even the best")]
    if guessing:  # between two of those there is no barrier either
        yield f"That cannot be told here: {guessing[0]}"
        return
    if lines.height:
        if groups["value"].n_unique() == 1:
            yield _in_one_basin(lines.row(0, named=True), soup.rows.filter(metric="limit")["value"][0])
        else:
            parts = [_listed(part["a"].to_list()) for _, part in groups.group_by("value", maintain_order=True)]
            yield f"Not all: they lie in {len(parts)} basins: {' | '.join(parts)}."
    gain = soup.rows.filter(metric="difference", split="test").filter(pl.col("domain").is_null())
    better = [one for one in rest if one.startswith("on test ")]
    if gain.height and gain["a"][0] != gain["b"][0]:
        unsure = "" if soup.sure == "measured" else " That is not sure."
        yield f"{first}{''.join(f'; {one}' for one in better)}.{unsure}"
    elif gain.is_empty():
        yield f"{first}."
    else:
        yield f"Here it brings nothing: {first[:1].lower()}{first[1:]}." if lines.height else f"{first}."


def _in_one_basin(row: Mapping[str, Any], limit: float) -> str:
    """Say how sure it is that no barrier lies between them, by the one that may be the highest."""
    share = row["unit"] == "share"
    height, most = (f"{100 * value:.1f} points" if share else f"{value:.3g}" for value in (row["value"], limit))
    seen = f"on the line between two of them the error rises by at most {height}"
    seen += f"{_ends(row)} on {row['n']:,} validation examples, and up to {most} count as none"
    high = row["value"] if row["high"] is None else row["high"]
    if high <= limit:
        return f"Yes, they lie in one basin: {seen}."
    if row["value"] <= limit:
        return f"Yes, as far as can be seen: {seen}. More examples would make it sure."
    return f"That is not settled: {seen}. More examples would settle it."


def _good(results: Mapping[str, pl.DataFrame]) -> Iterator[str]:
    rows = _whole(results, "mistakes")
    ranked = rows.filter(metric="auroc_error")  # of several labels, where nearly all are absent
    errors = (ranked if ranked.height else rows.filter(metric="error")).sort("value")
    if not errors.height:
        return
    shown = [
        f"{_name(row['a'])} {_error(row)}{_ends(row)}" for row in errors.head(MOST_NAMED).iter_rows(named=True)
    ] + ([f"{errors.height - MOST_NAMED} more below"] if errors.height > MOST_NAMED else [])
    called = "Test error, 1 - mean AUROC" if ranked.height else "Test error"
    yield f"{called}: {', '.join(shown)}."
    chance = rows.filter(metric="chance_accuracy")["value"].to_list()
    if not chance:
        return
    guess = 1 - chance[0]
    poor = [_name(row["a"]) for row in errors.iter_rows(named=True) if (row["high"] or row["value"]) >= guess]
    if poor:
        yield (
            f"No better than guessing, which has {100 * guess:.1f} %: {_listed(poor)}. So this page says little of "
            "them: are the classes of the data those of the model, in its order?"
        )
    else:
        yield f"Guessing has {100 * guess:.1f} %."


def _alike(results: Mapping[str, pl.DataFrame], *, based: bool) -> Iterator[str]:
    kappa = _between(_whole(results, "mistakes").filter(metric="kappa"))
    if kappa.height:
        yield (
            f"Mistakes: kappa {_range(kappa)} (1: wrong on the same examples, 0: as often as independent models are)."
        )
    rows = results.get("similarity")
    if rows is not None:
        modules = _between(rows.filter(metric="cka").drop_nulls("value")).group_by("module", maintain_order=True)
        means = modules.agg(pl.col("value").mean()).sort("value", descending=True)
        if means.height > 1:
            (most, high), (least, low) = means.row(0), means.row(-1)
            yield f"Features: most alike in {most} (CKA {high:.2f}), least in {least} ({low:.2f})."
    apart = _between(_whole(results, "distance").filter(metric="l2_relative"))
    if apart.height:
        sizes = apart["value"].sort().to_list()
        ends = [f"{100 * value:.3g}" for value in (sizes[0], sizes[-1])]
        of = "the base's norm" if based else "their norm"
        yield f"Weights: {' to '.join(dict.fromkeys(ends))} % of {of} apart."


def _whole(results: Mapping[str, pl.DataFrame], analysis: str) -> pl.DataFrame:
    """Rows about the whole network."""
    rows = results.get(analysis)
    if rows is None:
        return pl.DataFrame(schema={"metric": pl.String, "a": pl.String, "b": pl.String, "value": pl.Float64})
    return rows.filter(pl.col("module") == "*").drop_nulls("value")


def _between(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of two files: P is not one."""
    return rows.filter(pl.col("a") != PRETRAINED, pl.col("b") != PRETRAINED) if rows.height else rows


def _range(rows: pl.DataFrame) -> str:
    """One value with its interval, or the lowest and the highest of several."""
    if rows.height == 1:
        row = rows.row(0, named=True)
        ends = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
        return f"{row['value']:.2f}{ends}"
    values = rows["value"].sort()
    return f"{values[0]:.2f} to {values[-1]:.2f} in {rows.height} pairs"


def _error(row: Mapping[str, Any]) -> str:
    return f"{100 * row['value']:.1f} %" if row["unit"] == "share" else f"{row['value']:.3f}"


def _ends(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return ""
    share = row["unit"] == "share"
    low, high = (f"{100 * row[end]:.1f}" if share else f"{row[end]:.3f}" for end in ("low", "high"))
    return f" ({low} to {high})"


def _name(run: str) -> str:
    """The name of a file without that of its arm."""
    return run.partition("/")[2] or run


def _listed(runs: Sequence[str]) -> str:
    named = [_name(run) for run in runs]
    shown = named[:MOST_NAMED] + ([f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else [])
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)
