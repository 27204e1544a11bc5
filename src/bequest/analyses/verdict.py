"""What may be said of a claim, and by which rule?

The eleven claims are those of the poster (science.md, section 5). A verdict is one of four words, one sentence with the
numbers, and the rule that decided. It is `inconclusive` whenever an arm failed to train, replicas are too few, or an
interval crosses the threshold: an honest "we cannot tell" is a result.

Runs that were planned and failed may be among the rows of any analysis: metric `missing_run`, `a` is the run's name.
What is left may be a selection, so nothing holds without that condition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import polars as pl

from bequest.analyses.pairs import arm

Status = Literal["holds", "holds under conditions", "does not hold", "inconclusive"]
STATUSES: tuple[Status, ...] = get_args(Status)

MISSING_RUN = "missing_run"
COVERED = "Intervals cover init and data order, given one pre-training and one draw of labelled images."

CLAIMS: dict[str, str] = {
    "C1": "Pre-training helps: fine-tuned models are better and converge faster",
    "C2": "Feature reuse: the gain shrinks when blocks of the image are shuffled",
    "C3": "Low-level statistics help too, above all in speed",
    "C4": "Fine-tuned models make the same mistakes",
    "C5": "Fine-tuned models have the same features",
    "C6": "Fine-tuned models are near each other in parameter space",
    "C7": "Fine-tuned models lie in one basin",
    "C8": "Random inits end in different basins, even from the same seed",
    "C9": "Higher modules are more critical",
    "C10": "An earlier pre-training checkpoint is enough",
    "C11": "Any two solutions are joined by a non-linear low-loss path",
}


@dataclass(frozen=True)
class Verdict:
    """What the numbers say of one claim.

    Attributes:
        claim: a key of `CLAIMS`.
        status: one of the four words.
        sentence: one sentence with the numbers that decided.
        rule: the rule that was applied, in words, with its threshold.
        n: how many observations stand behind it.
        low: lower end of the deciding interval, in the unit that the rule names; None if there is none.
        high: its upper end.
        target: the target that it is about; None for all of them.
        parts: the verdicts for each target, where there are several.
    """

    claim: str
    status: Status
    sentence: str
    rule: str
    n: int = 0
    low: float | None = None
    high: float | None = None
    target: str | None = None
    parts: tuple[Verdict, ...] = ()


def trained_accuracy(chance: float) -> float:
    """Give the accuracy below which an arm counts as not trained.

    Twice chance. Where guessing is right more than one time in five, that asks too much, and a quarter of the way from
    chance to a perfect score is enough (chosen).

    Args:
        chance: accuracy of guessing, 0..1.

    Returns:
        The lowest accuracy of an arm that learned something, 0..1.
    """
    return min(2 * chance, chance + (1 - chance) / 4)


def limited(verdict: Verdict, conditions: Sequence[str]) -> Verdict:
    """Weaken what holds by the conditions on which it does, and name them in the sentence.

    Args:
        verdict: any verdict; one that does not hold, or is inconclusive, stays as it is.
        conditions: parts of a sentence, without a full stop; none of them changes nothing.

    Returns:
        The verdict, `holds under conditions` at most.
    """
    if not conditions or verdict.status not in {"holds", "holds under conditions"}:
        return verdict
    return replace(_adding(verdict, conditions), status="holds under conditions")


def _adding(verdict: Verdict, parts: Sequence[str]) -> Verdict:
    return replace(verdict, sentence=f"{verdict.sentence.rstrip('.')}. Beware: {'; '.join(parts)}.")


def combine(parts: Sequence[Verdict]) -> Verdict:
    """Join the verdicts on one claim for several targets into one.

    All alike: that word. Some hold and some do not: `holds under conditions`. None speaks against, but some are
    inconclusive: `inconclusive`.

    Args:
        parts: verdicts on the same claim, a target each; at least one.

    Returns:
        The joint verdict, with `parts` kept; the single part itself where there is just one.

    Raises:
        ValueError: if there are no parts or they are about different claims.
    """
    if len({part.claim for part in parts}) != 1:
        raise ValueError(f"verdicts to combine must be about one claim, not {[part.claim for part in parts]}")
    if len(parts) == 1:
        return parts[0]
    words = {part.status for part in parts}
    status: Status
    if len(words) == 1:
        status = parts[0].status
    elif words & {"holds", "holds under conditions"} and words <= {"holds", "holds under conditions", "does not hold"}:
        status = "holds under conditions"
    else:
        status = "inconclusive"
    sentence = " ".join(f"{part.target}: {part.status} ({part.sentence.rstrip('.')})." for part in parts)
    return Verdict(parts[0].claim, status, sentence, parts[0].rule, n=sum(part.n for part in parts), parts=tuple(parts))


def judge_targets(
    rows: pl.DataFrame, judge: Callable[[pl.DataFrame, str | None], Verdict | None]
) -> tuple[Verdict, ...]:
    """Judge one claim for each target in the rows and join what comes out.

    Where runs of the two arms are missing, what holds does so under conditions, and every sentence names them. What
    intervals cover is added to the rule.

    Args:
        rows: the rows of an analysis.
        judge: gives the verdict from the rows of one target and its name (None for a call from Python); None where
            they cannot speak of the claim. It does not get the rows of missing runs.

    Returns:
        One verdict, or none where no target has one.
    """
    found = []
    for part in rows.partition_by("target", maintain_order=True):
        missing = part.filter(pl.col("metric") == MISSING_RUN)["a"].unique(maintain_order=True)
        verdict = judge(part.filter(pl.col("metric") != MISSING_RUN), part["target"][0])
        if verdict is None:
            continue
        failed = [f"{name} failed and is not counted" for name in missing if arm(name) in {"finetune", "randinit"}]
        if failed:
            status: Status = "holds under conditions" if verdict.status == "holds" else verdict.status
            verdict = replace(_adding(verdict, failed), status=status)
        found.append(replace(verdict, rule=f"{verdict.rule} {COVERED}"))
    return (combine(found),) if found else ()
