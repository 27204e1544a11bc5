"""What was transferred, where does it live, what to do, and how sure is that?

The first screen of the report: a few sentences, each from the rows and verdicts below it. Nothing is said here that a
section does not show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from bequest.analyses.verdict import COVERED
from bequest.report.contents import Advice, ReportInput
from bequest.report.merging import merging
from bequest.report.network import CKA, RISE, module_measures
from bequest.report.verdicts import Slot
from bequest.report.wording import signed, tally

MOST_LINES = 4  # sentences under a question: all is to fit one screen
LITTLE = 0.01  # of the error: a rise below one point is called small (chosen)


@dataclass(frozen=True)
class Answer:
    """One of the questions of the first screen.

    Attributes:
        question: as its heading.
        lines: sentences, each after what it is about (a target, or nothing).
        section: id of the section that shows it; empty for none.
    """

    question: str
    lines: tuple[tuple[str, str], ...]
    section: str = ""


def answers(report: ReportInput, slots: Sequence[Slot]) -> list[Answer]:
    """Give the answers that the rows allow.

    Args:
        report: what the page shows.
        slots: the claims with their verdicts.

    Returns:
        Up to four answers; of weights alone none.
    """
    if not report.results:
        return []
    if report.summary:  # of files, of which those of weights alone were measured on nothing
        asked = merging(report) if report.targets else ()
        return [Answer(question, tuple(lines), at) for question, lines, at in asked if lines]
    what = [(target, line) for target in report.targets if (line := _what(report.results, target))]
    where = [(target, line) for target in report.targets if (line := _where(report.results, target))]
    todo = [(one.target, _short(one)) for one in report.advices]
    found = [
        Answer("What was transferred", _named(what, report.targets), "learning_curves"),
        Answer("Where it lives", _named(where, report.targets), "network"),
        Answer("What to do", _named(todo, report.targets), "advices"),
        Answer("How sure that is", tuple(("", line) for line in _sure(report, slots)), "verdicts"),
    ]
    return [answer for answer in found if answer.lines]


def _short(advice: Advice) -> str:
    """What to do, without the numbers that decided: they stand below."""
    words = re.split(r"[;:] ", advice.sentence, maxsplit=1)[0].rstrip(".")
    unsure = advice.sure == "inconclusive" and "sure" not in words
    return f"{words} (inconclusive)." if unsure else f"{words}."


def _named(lines: Sequence[tuple[str, str]], targets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    named = [(target if len(targets) > 1 else "", line) for target, line in lines]
    left = len(named) - MOST_LINES
    return tuple(named if left <= 0 else [*named[:MOST_LINES], ("", f"{left} more below.")])


def _what(results: Mapping[str, pl.DataFrame], target: str) -> str:
    """The gain in error of a target, and how much of it P's scale alone brings."""
    rows = results.get("learning_curves")
    if rows is None or not {"a", "b", "metric", "split", "target"} <= set(rows.columns):
        return ""
    paired = rows.filter(pl.col("target") == target, metric="error_difference")
    split = "test" if "test" in paired["split"] else "validation"
    paired = paired.filter(split=split)
    gain = _row(paired, "finetune", "randinit")
    if gain is None:
        return ""
    points = 100 * gain["value"]
    told = (
        f"fine-tuning ends {abs(points):.1f} points of {split} error {'below' if points < 0 else 'above'} random init"
    )
    if gain["low"] is None:
        told += " (one pair of replicas, so no interval)"
    else:
        told += f" ({_ends(gain)})"
        if gain["low"] <= 0 <= gain["high"]:
            told = f"no difference that can be told: {told}"
    parts = [
        f"{words} {signed(100 * row['value'])}"
        for words, a, b in (
            ("the scale of P's weights alone brings", "meanvar", "randinit"),
            ("features on top of it", "finetune", "meanvar"),
        )
        if (row := _row(paired, a, b)) is not None
    ]
    return f"{told}; {', '.join(parts)} points." if parts else f"{told}."


def _row(rows: pl.DataFrame, a: str, b: str) -> dict[str, Any] | None:
    found = rows.filter(pl.col("a") == a, pl.col("b") == b).drop_nulls("value").head(1)
    return found.row(0, named=True) if found.height else None


def _ends(row: Mapping[str, Any]) -> str:
    return f"{signed(100 * row['low'])} to {signed(100 * row['high'])}"


def _where(results: Mapping[str, pl.DataFrame], target: str) -> str:
    """The modules that had to change most and least, and those whose features stayed nearest to P's."""
    rows = module_measures(results, target)
    sentences = []
    rise = rows.filter(pl.col("measure") == RISE, pl.col("models") == "finetune")
    rise = rise.filter(~pl.col("module").is_in(_heads(results, target))).sort("value", descending=True)
    if rise.height > 1 and float(rise["high"].max()) <= 1:  # type: ignore[arg-type] # a float
        first, last = rise.row(0, named=True), rise.row(-1, named=True)
        sentences.append(
            f"put back to P, {first['module']} costs fine-tuned models most ({signed(100 * first['value'])} points of "
            f"error) and {last['module']} least ({signed(100 * last['value'])})"
            if first["value"] > LITTLE
            else f"no module had to move: put back to P, none costs more than {signed(100 * first['value'])} points"
        )
    near = rows.filter(pl.col("measure") == CKA, pl.col("models") == "P & finetune").sort("value", descending=True)
    if near.height > 1:
        first, last = near.row(0, named=True), near.row(-1, named=True)
        sentences.append(
            f"features stay nearest to P's in {first['module']} (CKA {first['value']:.2f}) and go farthest in "
            f"{last['module']} ({last['value']:.2f})"
        )
    return f"{'; '.join(sentences)}." if sentences else ""


def _heads(results: Mapping[str, pl.DataFrame], target: str) -> list[str]:
    """Heads are new, so that putting them back says nothing about transfer."""
    rows = results.get("criticality")
    if rows is None or "head" not in rows.columns:
        return []
    return rows.filter(pl.col("target") == target, pl.col("head"))["module"].unique().to_list()


def _sure(report: ReportInput, slots: Sequence[Slot]) -> list[str]:
    counts = sorted({part.n for slot in slots for part in slot.parts if part.n and slot.claim == "C1"})
    lines = [tally(slots)]
    if counts:
        pairs = " or ".join(map(str, counts))
        lines.append(f"The gain is from {pairs} pair{'s' if counts != [1] else ''} of replicas a target. {COVERED}")
    if report.failures:
        lines.append(f"{len(report.failures)} step{'s' if len(report.failures) > 1 else ''} failed; see below.")
    return lines
