"""What is said of a soup: the rows, the sentence, and how sure it is?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from bequest.analyses.groups import counted
from bequest.analyses.intervals import Interval
from bequest.analyses.result import table
from bequest.decisions.mixes import Mix
from bequest.decisions.scores import LIMIT, Scales, Score, difference
from bequest.decisions.shared_basins import Basins, Line
from bequest.decisions.wording import apart, errors, height, listed
from bequest.weights.algebra import Weights

WISE = "wise-ft"
ENSEMBLE = "ensemble"
REFITTED = "best, refitted"
STALE = "BatchNorm was not refitted: pass training batches as calibration="


@dataclass
class Found:
    """Everything that was measured for a soup.

    Attributes:
        members: name -> weights.
        best: the member with the lowest validation error.
        groups: members that share a basin; the first group has the best one.
        group: the first of them with more than one member; empty if there is none.
        basins: the lines between them.
        alone: member -> validation score.
        mixes: name -> mix.
        chosen: what is advised, if anything is.
        called: its name.
        curve: validation scores of the interpolation, by alpha.
        method: which mean was asked for.
        refitted: the best member with BatchNorm statistics of its own anew, as a mix has them; None where the best
            member itself is advised, or there is nothing to refit.
        guessing: error of guessing on test, or on validation where there is no test; None: not known of the task.
        tested: domain (None for the target) -> scores of members, mixes and the ensemble.
    """

    members: Mapping[str, Weights]
    best: str
    groups: Sequence[Sequence[str]]
    group: Sequence[str]
    basins: Basins
    alone: Mapping[str, Score]
    mixes: Mapping[str, Mix]
    chosen: Mix
    called: str
    curve: Sequence[tuple[float, Score]]
    method: str
    refitted: Mix | None = None
    guessing: float | None = None
    tested: dict[str | None, dict[str, Score]] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether no two members share a basin."""
        return len(self.members) > 1 and not self.group

    @property
    def poor(self) -> list[str]:
        """Members that are not clearly better than guessing."""
        scores = self.tested.get(None, self.alone)
        return [name for name in self.members if self._poor(scores[name])]

    @property
    def no_better_than_guessing(self) -> bool:
        """Whether no member is, nor what is advised."""
        mix = self.tested[None][self.called] if None in self.tested else self.chosen.score
        return len(self.poor) == len(self.members) and self._poor(mix)

    def _poor(self, score: Score) -> bool:
        error = score.interval
        return self.guessing is not None and (error.value if error.high is None else error.high) >= self.guessing

    @property
    def unsettled(self) -> Line | None:
        """The highest barrier in the group that is above the limit, but not with its whole interval."""
        inside = [line for line in self.basins.lines.values() if line.a in self.group and line.b in self.group]
        above = [line for line in inside if line.height.value > self.basins.limit]
        return max(above, key=lambda line: line.height.value, default=None)

    @property
    def gain(self) -> Interval | None:
        """Test error of the chosen weights minus that of the best member; None without test."""
        scores = self.tested.get(None)
        return None if scores is None else difference(scores[self.called], scores[self.best])

    @property
    def gain_of_mixing(self) -> Interval | None:
        """The same minus that of the best member with BatchNorm refitted as the mix's; None where that is no other."""
        if None not in self.tested or self.refitted is None or self.called == REFITTED:
            return None
        return difference(self.tested[None][self.called], self.tested[None][REFITTED])


def sure(found: Found, scales: Scales) -> Literal["measured", "inconclusive", "refused"]:
    """Tell how far the numbers carry.

    Args:
        found: what was measured.
        scales: what measured it.

    Returns:
        The word, by the rule at the top of `soup.py`.
    """
    if found.refused:
        return "refused"
    gain = found.gain
    if scales.stale or gain is None or found.no_better_than_guessing or found.unsettled:
        return "inconclusive"
    if found.called == found.best:
        return "measured"  # nothing else was as good on validation
    if gain.low is None or gain.high is None:
        return "inconclusive"
    mixing = found.gain_of_mixing
    if gain.high < 0 and mixing is not None and (mixing.high is None or mixing.high >= 0):
        return "inconclusive"  # the statistics may have done it
    return "measured" if gain.high < 0 or gain.low > 0 or max(-gain.low, gain.high) <= LIMIT else "inconclusive"


def advice(found: Found, scales: Scales) -> str:
    """Say in one sentence what to do.

    Args:
        found: what was measured.
        scales: what measured it.

    Returns:
        The sentence with its numbers.
    """
    parts = [_first(found, scales)]
    gain = found.gain
    if gain is None:
        parts.append("not confirmed, as no test examples were given")
    elif found.called != found.best:
        own, best = found.tested[None][found.called], found.tested[None][found.best]
        what = "it" if found.called == REFITTED else "the mix"
        parts.append(
            f"on test {what} has {errors(scales.task, own)} error, {apart(scales.task, gain)} {found.best}, the best "
            f"single one on validation ({errors(scales.task, best)} on test)"
        )
        mixing = found.gain_of_mixing
        if mixing is not None:
            refitted = errors(scales.task, found.tested[None][REFITTED])
            parts.append(
                f"{found.best} with its BatchNorm refitted as the mix's has {refitted}, so the mixing alone makes it "
                f"{apart(scales.task, mixing)} that"
            )
        if ENSEMBLE in found.tested[None]:
            together = errors(scales.task, found.tested[None][ENSEMBLE])
            count = len(found.group)
            parts.append(f"the joint answer of {count} has {together}, for {count} inferences in place of one")
    elif not found.refused:
        parts.append(f"it has {errors(scales.task, found.tested[None][found.best])} error on test")
    away = [name for group in found.groups for name in group if name not in found.group]
    if away and found.group and (line := found.basins.worst(away)) is not None:
        parts.append(f"left out: {listed(away)}, behind a barrier of {height(scales.task, line.height.value)}")
    line = found.unsettled
    if line is not None:
        ends = (max(0.0, line.height.low or 0.0), line.height.high or line.height.value)
        low, high = (errors(scales.task, end) for end in ends)
        parts.append(
            f"whether {line.a} and {line.b} share a basin is not settled: the line between them rises by "
            f"{height(scales.task, line.height.value)} ({low} to {high}, {counted(line.height.n, 'example')}), and "
            f"{height(scales.task, found.basins.limit)} count as none"
        )
    if found.poor and found.guessing is not None:
        whole = found.no_better_than_guessing
        who = "not even the best is" if whole else f"{listed(found.poor)} {'is' if len(found.poor) == 1 else 'are'} not"
        parts.append(
            f"{who} clearly better than guessing ({errors(scales.task, found.guessing)} error)"
            f"{', so this says little' if whole else ''}: did they learn, and are the classes of the data those of the "
            "model, in its order?"
        )
    if scales.stale:
        parts.append("BatchNorm was not refitted, so a barrier may be one of its statistics: give calibration data")
    said = "; ".join(parts)
    return said if said.endswith("?") else f"{said}."


def _first(found: Found, scales: Scales) -> str:
    """What to do."""
    if found.refused:
        line = found.basins.worst([found.best])
        assert line is not None
        other = line.b if line.a == found.best else line.a
        text = (
            f"Do not average these: half-way from {found.best} to {other} lies a barrier of "
            if line.at == 0.5
            else f"Do not average these: between {found.best} and {other} lies a barrier of "
        )
        text += f"{height(scales.task, line.height.value)} (up to {height(scales.task, found.basins.limit)} "
        text += f"count as none), so keep {found.best}, the best single one"
        if WISE in found.mixes and found.mixes[WISE].alpha < 1:
            text += "; on validation it is better interpolated with the pre-trained weights: ask for it alone"
        return text
    mixed = found.chosen.names
    if found.called == REFITTED:
        what = "interpolation with the pre-trained weights" if len(found.members) == 1 else "average"
        return f"Keep {found.best} with its BatchNorm refitted on training data: no {what} was better on validation"
    if found.called == WISE:
        of = mixed[0] if len(mixed) == 1 else f"the {found.method} mean of {listed(mixed)}"
        return f"Interpolate {1 - found.chosen.alpha:.2g} of the way from {of} back to the pre-trained weights"
    if len(mixed) == 1:
        what = "no interpolation with the pre-trained weights" if len(found.members) == 1 else "no average"
        return f"Keep {found.best} alone: {what} was better on validation"
    if found.chosen.score.error > found.alone[found.best].error:
        own, best = errors(scales.task, found.chosen.score), errors(scales.task, found.alone[found.best])
        mean = f"the {found.method} mean of {listed(mixed)}"
        return f"Keep {found.best}: {mean} is worse on validation ({own} error in place of {best})"
    return f"Average {listed(mixed)} ({found.method})"


def told(found: Found, scales: Scales) -> pl.DataFrame:
    """Make the rows.

    Args:
        found: what was measured.
        scales: what measured it.

    Returns:
        The long table.
    """
    return table("soup", [{"module": "*", "domain": None, **row} for row in _rows(found, scales)])


def _rows(found: Found, scales: Scales) -> Iterator[dict[str, Any]]:
    units = scales.task.units
    note = STALE if scales.stale else None
    for name, score in found.alone.items():
        yield from _score(name, score, units, split="validation")
    for name, mix in found.mixes.items():
        if name != WISE:
            yield from _score(name, mix.score, units, split="validation", note=note)
    if found.refitted is not None:
        yield from _score(REFITTED, found.refitted.score, units, split="validation")
    for alpha, score in found.curve:
        yield from _score(WISE, score, units, split="validation", x=alpha, note=note)
    for domain, scores in found.tested.items():
        for name, score in scores.items():
            at = {"x": found.mixes[WISE].alpha} if name == WISE else {}
            yield from _score(name, score, units, split="test", domain=domain, **at)
    for line in found.basins.lines.values():
        row: dict[str, Any] = {"a": line.a, "b": line.b, "split": "validation", "n": line.height.n, "note": note}
        ends = {"low": line.height.low, "high": line.height.high}
        yield {**row, **ends, "metric": "barrier_error", "value": line.height.value, "unit": units["error"]}
        yield {**row, "metric": "barrier_loss", "value": line.loss_height, "unit": units["loss"]}
        for t, score in zip(line.ts, line.scores, strict=True):
            yield {**row, "metric": "error_on_line", "x": t, "value": score.error, "unit": units["error"]}
    yield {"metric": "limit", "value": found.basins.limit, "unit": units["error"]}
    for number, group in enumerate(found.groups, 1):
        yield from ({"a": name, "metric": "group", "value": number, "unit": "basin"} for name in group)
    for name, mix in found.mixes.items():
        for member in found.members:
            yield {"a": member, "b": name, "metric": "in_soup", "value": float(member in mix.names), "unit": "0 or 1"}
        for place, trial in enumerate(mix.trials, 1):
            row = {"a": trial.name, "b": name, "split": "validation", "metric": "greedy_error", "x": place}
            yield {**row, "value": trial.error, "n": mix.score.n, "unit": units["error"]}
    if WISE in found.mixes:
        yield {"a": WISE, "metric": "alpha", "value": found.mixes[WISE].alpha, "unit": "share of the fine-tuned"}
    for name in (*found.members, *found.mixes, *([REFITTED] if found.refitted else []), ENSEMBLE):
        networks = len(found.group) if name == ENSEMBLE else 1
        if name != ENSEMBLE or networks > 1:
            yield {"a": name, "metric": "inferences", "value": networks, "unit": "networks an answer"}
    for domain, scores in found.tested.items():
        gain = difference(scores[found.called], scores[found.best])
        row = {"a": found.called, "b": found.best, "split": "test", "domain": domain, "metric": "difference"}
        yield {**row, "value": gain.value, "low": gain.low, "high": gain.high, "n": gain.n, "unit": units["error"]}


def _score(name: str, score: Score, units: Mapping[str, str], **about: Any) -> Iterator[dict[str, Any]]:
    error = score.interval
    yield {
        **about,
        "a": name,
        "metric": "error",
        "value": error.value,
        "low": error.low,
        "high": error.high,
        "n": error.n,
        "unit": units["error"],
    }
    yield {**about, "a": name, "metric": "loss", "value": score.loss, "n": score.n, "unit": units["loss"]}
