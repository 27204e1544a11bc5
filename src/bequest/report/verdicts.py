"""What does the study say of each of the eleven claims?

Every claim has a slot on the page, with a verdict or with the reason why there is none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from bequest.analyses.result import Result
from bequest.analyses.verdict import CLAIMS, STATUSES, Verdict
from bequest.report.contents import Failure
from bequest.study.options import Analyses

JUDGES: dict[str, tuple[str, ...]] = {  # claim -> analyses that can judge it, the best one first
    "C1": ("learning_curves",),
    "C2": ("block_shuffle",),
    "C3": ("block_shuffle",),
    "C4": ("mistakes",),
    "C5": ("similarity",),
    "C6": ("distance",),
    "C7": ("basin", "barrier"),
    "C8": ("barrier",),
    "C9": ("criticality",),
    "C10": ("checkpoints",),
    "C11": ("connectivity",),
}
SHAPES = dict(zip(STATUSES, ("holds", "conditions", "fails", "unclear"), strict=True))  # names of drawings on the page


@dataclass(frozen=True)
class Slot:
    """One claim on the page.

    Attributes:
        claim: a key of `CLAIMS`.
        text: the claim in words.
        word: the verdict's status, or why there is none.
        shape: name of the drawing beside the word.
        parts: the verdict, or one for each target; empty where there is none.
        note: a sentence where there is no verdict.
        analysis: the analysis that judged it, for a link to its section.
    """

    claim: str
    text: str
    word: str
    shape: str
    parts: tuple[Verdict, ...] = ()
    note: str = ""
    analysis: str | None = None


def judged(results: Mapping[str, pl.DataFrame]) -> tuple[dict[str, tuple[Verdict, ...]], dict[str, str]]:
    """Ask every analysis for its verdicts.

    Args:
        results: name of an analysis -> its rows.

    Returns:
        Name of an analysis -> its verdicts, and name -> message for those that could not judge their rows.
    """
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    errors: dict[str, str] = {}
    for name, rows in results.items():
        try:
            verdicts[name] = Result(name, rows).verdict
        except Exception as error:  # one analysis must not cost the reader the rest of the report
            errors[name] = f"{type(error).__name__}: {error}"
    return verdicts, errors


def slots(results: Mapping[str, pl.DataFrame], failures: Sequence[Failure] = ()) -> tuple[Slot, ...]:
    """Fill the slot of every claim.

    Args:
        results: name of an analysis -> its rows.
        failures: steps that failed; a claim whose analysis is named by one says so.

    Returns:
        The eleven slots in order.
    """
    verdicts, errors = judged(results)
    return tuple(_slot(claim, verdicts, errors, failures) for claim in CLAIMS)


def _slot(
    claim: str, verdicts: Mapping[str, tuple[Verdict, ...]], errors: Mapping[str, str], failures: Sequence[Failure]
) -> Slot:
    """The verdict of the first judge that has one; else the best reason why there is none."""
    judges = JUDGES[claim]
    for name in (*judges, *(name for name in verdicts if name not in judges)):
        for verdict in verdicts.get(name, ()):
            if verdict.claim == claim:
                parts = verdict.parts or (verdict,)
                return Slot(claim, CLAIMS[claim], verdict.status, SHAPES[verdict.status], parts, analysis=name)
    words = " or ".join(name.replace("_", " ") for name in judges)
    for name in judges:
        if name in errors:
            note = f"The rows of {words} could not be judged ({errors[name]})."
            return Slot(claim, CLAIMS[claim], "not judged", "none", note=note, analysis=name)
        if name in verdicts:
            note = f"The results of {words} lack the arms that this claim is about."
            return Slot(claim, CLAIMS[claim], "not judged", "none", note=note, analysis=name)
        if any(name.replace("_", " ") in failure.step.replace("_", " ") for failure in failures):
            return Slot(claim, CLAIMS[claim], "failed", "failed", note=f"A step of {words} failed.")
    built = [name for name in judges if importlib.util.find_spec(f"bequest.analyses.{name}")]
    if built and not set(built) & Analyses.model_fields.keys():
        note = f"Bequest measures {words} from Python; a study cannot ask for it yet."
        return Slot(claim, CLAIMS[claim], "not in studies yet", "none", note=note)
    if built:
        return Slot(claim, CLAIMS[claim], "not measured", "none", note=f"The study did not ask for {words}.")
    return Slot(claim, CLAIMS[claim], "not built yet", "none", note=f"Bequest has no analysis {words} yet.")
