"""What does the study say of each of the eleven claims?

Every claim has a slot on the page, with a verdict or with the reason why there is none. Where two analyses speak of one
claim, the first judge has the word and the other is heard beside it: the rule of C7 is that of the barrier, and the
basin can only limit it; what matching leaves of the barriers is added to C8, whose rule is about raw coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from bequest.analyses.matching import modulo_order
from bequest.analyses.result import Result
from bequest.analyses.verdict import CLAIMS, STATUSES, Verdict, combine, limited
from bequest.report.contents import Failure

JUDGES: dict[str, tuple[str, ...]] = {  # claim -> analyses that can judge it, the best one first
    "C1": ("learning_curves",),
    "C2": ("block_shuffle",),
    "C3": ("block_shuffle",),
    "C4": ("mistakes",),
    "C5": ("similarity",),
    "C6": ("distance",),
    "C7": ("barrier", "basin"),
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
    found = [_slot(claim, verdicts, errors, failures) for claim in CLAIMS]
    return tuple(_ordered(slot, results["matching"]) if "matching" in verdicts else slot for slot in found)


def _slot(
    claim: str, verdicts: Mapping[str, tuple[Verdict, ...]], errors: Mapping[str, str], failures: Sequence[Failure]
) -> Slot:
    """The verdict of the first judge that has one; else the best reason why there is none."""
    judges = JUDGES[claim]
    for name in (*judges, *(name for name in verdicts if name not in judges)):
        for verdict in verdicts.get(name, ()):
            if verdict.claim == claim:
                verdict = _beside(verdict, name, verdicts)
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
    return Slot(claim, CLAIMS[claim], "not measured", "none", note=f"The study did not ask for {words}.")


def _beside(verdict: Verdict, name: str, verdicts: Mapping[str, tuple[Verdict, ...]]) -> Verdict:
    """Hear the second judge of C7 beside the first one, target by target."""
    if verdict.claim != "C7":
        return verdict
    parts = verdict.parts or (verdict,)
    if name == "basin":  # the rule asks for the barriers of pairs
        lacking = ["the barriers of pairs, which the rule asks for, were not measured"]
        return combine([limited(part, lacking) for part in parts])
    others = {
        part.target: part
        for other in verdicts.get("basin", ())
        if other.claim == "C7"
        for part in other.parts or (other,)
    }
    return combine([_heard(part, others.get(part.target)) for part in parts])


def _heard(verdict: Verdict, other: Verdict | None) -> Verdict:
    if other is None:
        return verdict
    against = verdict.status == "holds" and other.status == "does not hold"
    sentence = f"{verdict.sentence} As a basin of all replicas it {_WORDS[other.status]}: {_small(other.sentence)}"
    return replace(verdict, sentence=sentence, status="holds under conditions" if against else verdict.status)


def _small(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


_WORDS = {word: word for word in STATUSES} | {"inconclusive": "is inconclusive"}


def _ordered(slot: Slot, matching: pl.DataFrame) -> Slot:
    """Add to C8 what is left of its barriers with channels matched."""
    if slot.claim != "C8" or not slot.parts:
        return slot
    told = [(part, modulo_order(matching, part.target)) for part in slot.parts]
    return replace(slot, parts=tuple(replace(part, sentence=_and(part.sentence, clause)) for part, clause in told))


def _and(sentence: str, clause: str | None) -> str:
    return f"{sentence} {clause[0].upper()}{clause[1:]}." if clause else sentence
