"""Do two models go wrong on the same examples?

Source: Neyshabur et al. 2020, section 3.1 (common and uncommon mistakes); Geirhos et al. 2020 (error consistency).

For each pair of models and n examples: `common` counts the examples that both get wrong, `only_a` and `only_b` those
that one gets wrong, `uncommon` their sum. Better models have fewer uncommon mistakes by arithmetic alone, so
`expected_uncommon` is what two independent models of the same errors e1, e2 would show: n (e1 (1 - e2) + e2 (1 - e1)).
`kappa` is 1 - uncommon / expected_uncommon: 1 is the same mistakes, 0 is as alike as chance, below 0 is less. With no
uncommon mistake at all it is 1 (two perfect models). It equals Cohen's kappa of right and wrong. `mcnemar_p` is the
exact binomial p that the two errors differ. `same_wrong_class` is the share of common mistakes with the same wrong
answer. The metrics that end in `_in_class` are the counts within a class (column `class`).

With several labels an example, each label that is there is counted, wrong at a probability of 0.5 (see
`bequest.evaluation.label_decisions`); the bootstrap resamples examples, whose labels hang together, so there is no
`mcnemar_p`; nor is there `same_wrong_class`, as two wrong labels are always the same. `auroc_error` is 1 - mean AUROC
of each model, by which the verdict tells whether it was trained. Of language each token that is to be said is counted,
as labels are; there is nothing by class.

Rows whose `a` is a kind of pair (`finetune & finetune`) hold the mean kappa over its pairs (n of them), and
`kappa_difference` that of the fine-tuned pairs minus that of the random-init pairs. The interval of one pair's kappa
comes from resampling the examples, the same ones for all pairs, and speaks of these two models. Those of means add to
that variance the one over runs (see `bequest.analyses.groups`), as other runs may be more or less alike; Student's t,
no interval for a single pair. `error` is per model, with Wilson's interval.

How to read it: kappa takes out what the errors alone explain, but not that better models are left with the hard
examples: arms of very different errors may differ in kappa for that reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bequest.analyses.conditions import untrained
from bequest.analyses.groups import Group, counted, difference, grouped, interval, jackknife, ranged
from bequest.analyses.intervals import Interval, share_interval
from bequest.analyses.pairs import ACROSS, ARMS, CONTROLS, arm
from bequest.analyses.panels import by_target, pair_channels, with_kinds
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, limited
from bequest.evaluation.answers import all_answers
from bequest.evaluation.label_decisions import Numbers, cells_by_example, decision_rows, resampled

if TYPE_CHECKING:
    import altair

    from bequest.evaluation.predict import Predictions

NAME = "mistakes"
FINETUNED, RANDOM = "finetune & finetune", "randinit & randinit"
UNITS = {"classification": "examples", "multilabel": "labels", "language-modelling": "tokens"}
DRAWS = 1000  # of the bootstrap
LEAST_PAIRS = 3  # as for the basin: three replicas an arm
FAR_APART = 0.1  # of the arms' errors, as a share; chosen
RULE = (
    "Holds if the mean kappa of the fine-tuned pairs is above 0 (fewer uncommon mistakes than independent models of "
    "the same errors) and above that of the random-init pairs, both 95 % intervals (over the test images by bootstrap "
    "and over runs by jackknife) clear of 0; under conditions if the mean errors of the arms differ by more than 10 "
    "points, a confound that kappa does not remove; does not hold if one interval is clear of 0 on the other side. "
    "Inconclusive otherwise, with fewer than 3 pairs of a kind, or when an arm is no better than twice chance. The "
    "interval is of the difference in kappa."
)


def mistakes(
    predictions: Mapping[str, Predictions] | Sequence[Predictions],
    *,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
) -> Result:
    """Compare the mistakes of all pairs of models on the same examples.

    Args:
        predictions: name -> predictions, or a list with `names`; outputs [N, C] (scores, the highest is the answer),
            targets [N] whole numbers, the same for all; or logits of labels, and targets float [N, C]: 0, 1 or NaN; or
            of language logits [N, T, V] or the likeliest tokens int64 [N, T], and targets as for its task.
        names: the names of the models, for a list.
        classes: the names of the C classes, for the rows by class; None: their numbers.
        seed: of the bootstrap.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there is nothing to compare, or outputs, targets, names or classes do not fit each other.
    """
    named = _named(predictions, names)
    answers, truth, targets, examples = all_answers(named)
    count = max(one.outputs.shape[1] for one in named.values()) if targets is not None else 0
    labels = [str(index) for index in range(count)] if classes is None else list(classes)
    if len(labels) < count:
        raise ValueError(f"the outputs have {count} classes, but {len(labels)} class names were given")
    task = "classification" if examples is None else "multilabel" if targets is not None else "language-modelling"
    wrong = answers != truth  # [models, examples], or labels of examples
    models = list(named)
    pairs = list(combinations(range(len(models)), 2))
    draws = _kappa_draws(wrong, pairs, seed, examples) if pairs else np.empty((0, 0))
    own = [place for place, name in enumerate(models) if arm(name) not in CONTROLS]
    if 1 < len(own) < len(models):  # drawn as if they were alone: control arms must not move the intervals of others
        inner = [place for place, pair in enumerate(pairs) if {*pair} <= {*own}]
        draws[:, inner] = _kappa_draws(
            wrong[own], [(own.index(i), own.index(j)) for i, j in np.array(pairs)[inner]], seed, examples
        )
    rows = list(
        _model_rows(models, wrong, truth)
        if examples is None
        else decision_rows(named, wrong, examples, task=task, seed=seed, draws=DRAWS)
    )
    kappas: list[float] = []
    for index, (i, j) in enumerate(pairs):
        pair = {"a": models[i], "b": models[j]}
        rows += _pair_rows(pair, answers[[i, j]], wrong[[i, j]], draws[:, index], unit=UNITS[task])
        rows += _class_rows(pair, wrong[[i, j]], targets, labels) if targets is not None else []
        kappas.append(_kappa(*_cells(wrong[[i, j]])))
    rows += _kind_rows(models, pairs, np.array(kappas), draws)
    return Result(NAME, table(NAME, rows))


def _named(
    predictions: Mapping[str, Predictions] | Sequence[Predictions], names: Sequence[str] | None
) -> dict[str, Predictions]:
    if isinstance(predictions, Mapping):
        if names is not None:
            raise ValueError("names= goes with a list of predictions; a dict has its names already")
        named = dict(predictions)
    else:
        if names is None or len(names) != len(predictions) or len(set(names)) != len(names):
            raise ValueError(f"a list of {len(predictions)} predictions needs names= with as many different names")
        named = dict(zip(names, predictions, strict=True))
    if not named:
        raise ValueError("mistakes needs predictions: pass a dict of name -> Predictions")
    return named


def _cells(wrong: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Counts of examples that both, only the first, only the second, and none of two models get wrong."""
    a, b = wrong
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())


def _kappa(both: Any, only_a: Any, only_b: Any, none: Any) -> Any:
    """Error consistency from counts, or from arrays of counts."""
    n = both + only_a + only_b + none
    expected = ((both + only_a) * (only_a + none) + (both + only_b) * (only_b + none)) / n
    uncommon = only_a + only_b
    return np.where(uncommon == 0, 1.0, 1 - uncommon / np.where(expected == 0, 1, expected))


def _kappa_draws(
    wrong: NDArray[np.bool_], pairs: list[tuple[int, int]], seed: int, examples: Numbers | None = None
) -> NDArray[Any]:
    """Kappa of all pairs [DRAWS, pairs] on examples drawn with replacement."""
    if examples is not None:
        counted_cells = cells_by_example(wrong, examples, pairs)
        flat = resampled(counted_cells.reshape(len(counted_cells), -1), seed=seed, draws=DRAWS)
        drawn_cells = flat.reshape(-1, 4, len(pairs))
        found: NDArray[Any] = _kappa(*drawn_cells.transpose(1, 0, 2))
        return found
    # examples on which the same models fail are alike, so it is enough to draw how often each such pattern comes up
    patterns, counts = np.unique(wrong.T, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=DRAWS).astype(np.float64)
    a, b = patterns[:, [i for i, _ in pairs]], patterns[:, [j for _, j in pairs]]
    cells = [drawn @ chosen.astype(np.float64) for chosen in (a & b, a & ~b, ~a & b, ~a & ~b)]
    kappas: NDArray[Any] = _kappa(*cells)
    return kappas


def _ends(draws: NDArray[Any]) -> dict[str, float]:
    """Ends of the 95 percent percentile interval."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _model_rows(
    models: Sequence[str], wrong: NDArray[np.bool_], targets: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    n = len(targets)
    chance = float(np.bincount(targets).max()) / n
    yield {"metric": "chance_accuracy", "module": "*", "value": chance, "n": n, "unit": "share"}
    for name, missed in zip(models, wrong, strict=True):
        found = share_interval(int(missed.sum()), n)
        ends = {"low": found.low, "high": found.high}
        yield {"metric": "error", "a": name, "module": "*", "value": found.value, **ends, "n": n, "unit": "share"}


def _pair_rows(
    pair: Mapping[str, str], answers: Numbers, wrong: NDArray[np.bool_], draws: NDArray[Any], *, unit: str
) -> Iterator[dict[str, Any]]:
    """All numbers about one pair over all examples."""
    from scipy.special import bdtr  # only this function: scipy.stats takes half a second to import

    both, only_a, only_b, none = _cells(wrong)
    n = both + only_a + only_b + none
    row = {**pair, "module": "*", "n": n, "unit": unit}
    expected = ((both + only_a) * (only_a + none) + (both + only_b) * (only_b + none)) / n
    counts = {"common": both, "uncommon": only_a + only_b, "only_a": only_a, "only_b": only_b}
    for metric, value in {**counts, "expected_uncommon": expected}.items():
        yield {**row, "metric": metric, "value": value}
    yield {
        **row,
        "metric": "kappa",
        "value": float(_kappa(both, only_a, only_b, none)),
        **_ends(draws),
        "unit": "kappa",
    }
    if unit != "examples":
        return
    p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    yield {**row, "metric": "mcnemar_p", "value": p, "n": only_a + only_b, "unit": "probability"}
    alike = int((wrong[0] & wrong[1] & (answers[0] == answers[1])).sum())
    share = share_interval(alike, both) if both else None
    ends = {"value": share.value, "low": share.low, "high": share.high} if share else {"value": None}
    yield {**row, "metric": "same_wrong_class", **ends, "n": both, "unit": "share"}


def _class_rows(
    pair: Mapping[str, str], wrong: NDArray[np.bool_], targets: NDArray[np.int64], labels: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The counts within each class that has examples."""
    size = len(labels)
    a, b = wrong
    cells = {"common": a & b, "uncommon": a ^ b, "only_a": a & ~b, "only_b": ~a & b}
    counted = {metric: np.bincount(targets[chosen], minlength=size) for metric, chosen in cells.items()}
    totals = np.bincount(targets, minlength=size)
    for index in np.flatnonzero(totals).tolist():
        row = {**pair, "module": "*", "n": int(totals[index]), "unit": "examples", "class": labels[index]}
        for metric, counts in counted.items():
            yield {**row, "metric": f"{metric}_in_class", "value": int(counts[index])}


def _kind_rows(
    models: Sequence[str], pairs: list[tuple[int, int]], kappas: NDArray[Any], draws: NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """The mean kappa of each kind of pair and the difference between the two arms; no run counts twice."""
    named = [(models[i], models[j]) for i, j in pairs]
    columns = {"a": [a for a, _ in named], "b": [b for _, b in named], "value": kappas.tolist()}
    groups = grouped(pl.DataFrame(columns, schema={"a": pl.String, "b": pl.String, "value": pl.Float64}))
    drawn = {
        name: draws[:, [named.index(pair) for pair in group.pairs]].mean(axis=1)
        for name, group in groups.items()
        if name not in {"other", ACROSS}
    }
    row = {"metric": "kappa", "module": "*", "unit": "kappa"}
    for name, means in drawn.items():
        group = groups[name]
        found = interval(group.mean.value, len(group.values), jackknife(group), further=float(means.std(ddof=1)))
        yield {**row, "a": name, "value": found.value, "low": found.low, "high": found.high, "n": found.n}
    if FINETUNED in groups and RANDOM in groups:
        both: tuple[Group, Group] = (groups[FINETUNED], groups[RANDOM])
        further = float((drawn[FINETUNED] - drawn[RANDOM]).std(ddof=1))
        plain = difference(*both)
        found = interval(plain.value, plain.n, jackknife(*both), further=further)
        row |= {"metric": "kappa_difference", "a": FINETUNED, "b": RANDOM}
        yield {**row, "value": found.value, "low": found.low, "high": found.high, "n": found.n}


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C4 for each target.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where there are no pairs of both arms.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""
    kinds = {row["a"]: row for row in rows.filter(metric="kappa").iter_rows(named=True) if row["b"] is None}
    if FINETUNED not in kinds or RANDOM not in kinds:
        return None
    margin = rows.filter(metric="kappa_difference").row(0, named=True)
    tuned, random = kinds[FINETUNED], kinds[RANDOM]
    numbers = (
        f"kappa {_ranged(tuned)} between fine-tuned models, {_ranged(random)} between random inits, difference "
        f"{_ranged(margin)}, {tuned['n']} and {counted(random['n'], 'pair')} on one test set"
    )

    def say(status: Any, sentence: str) -> Verdict:
        ends = {"low": margin["low"], "high": margin["high"]}
        return Verdict("C4", status, sentence, RULE, n=margin["n"], target=target, **ends)

    errors = dict(rows.filter(metric="error").select("a", "value").iter_rows())
    trained_by = rows.filter(metric="auroc_error")
    shown = dict(trained_by.select("a", "value").iter_rows()) or errors
    failed = untrained(shown, rows.filter(metric="chance_accuracy")["value"][0], ("finetune", "randinit"))
    if failed:
        return say("inconclusive", f"{failed}; {numbers}.")
    if margin["n"] < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of a kind: {numbers}.")
    if margin["high"] < 0 or tuned["high"] < 0:
        return say("does not hold", f"Less alike: {numbers}.")
    if margin["low"] > 0 and tuned["low"] > 0:
        means = [np.mean([e for name, e in errors.items() if arm(name) == own]) for own in ("finetune", "randinit")]
        told = f"errors of {100 * means[0]:.1f} % and {100 * means[1]:.1f} % are far apart, which kappa does not remove"
        confounded = [told] if abs(means[0] - means[1]) > FAR_APART else []
        return limited(say("holds", f"More alike than their errors explain: {numbers}."), confounded)
    return say("inconclusive", f"This cannot be told, as an interval crosses 0: {numbers}.")


def _ranged(row: Mapping[str, Any]) -> str:
    return ranged(Interval(row["value"], row["low"], row["high"], row["n"]))


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw the uncommon mistakes of each pair against those that independent models of the same errors would show.

    Args:
        rows: the rows of this analysis; several targets become small charts side by side.

    Returns:
        The chart; a pair on the upper line is as alike as chance (kappa 0), one on the lower line has kappa 0.5.
    """
    return by_target(rows, _panel, small=(260, 260))


def _panel(rows: pl.DataFrame) -> altair.LayerChart | altair.FacetChart:
    """The chart of one target."""
    import altair as alt

    metrics = ["uncommon", "expected_uncommon", "kappa"]
    data = rows.filter(pl.col("metric").is_in(metrics), pl.col("b").is_not_null())
    sizes = data.filter(metric="uncommon").select("a", "b", "n")
    data = data.pivot(on="metric", index=["a", "b"], values="value").join(sizes, on=["a", "b"])
    data = with_kinds(data).with_columns(pl.col(metric) / pl.col("n") for metric in metrics[:2])
    colour, _, shape = pair_channels(data, lines=False)
    top = 1.12 * max([0.01, *data["uncommon"], *data["expected_uncommon"]])
    lines = pl.DataFrame({"x": [0.0, top] * 2, "y": [0.0, top, 0.0, top / 2], "kappa": ["0", "0", "0.5", "0.5"]})
    scale = alt.Scale(domain=[0, top], nice=False)
    ray = alt.Chart(lines).encode(alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale))
    dash = alt.StrokeDash("kappa:N", legend=None, scale=alt.Scale(domain=["0", "0.5"], range=[[1, 0], [4, 4]]))
    rays = ray.mark_line(color=ARMS["other"], strokeWidth=1.5).encode(dash)
    label = alt.Chart(lines.with_columns(pl.col("x", "y") * 0.4).filter(pl.col("x") > 0)).transform_calculate(
        text="'kappa ' + datum.kappa"
    )
    label = label.mark_text(align="left", dx=6, dy=9).encode(alt.X("x:Q", scale=scale), alt.Y("y:Q", scale=scale))
    names = label.encode(text="text:N")
    x_title, y_title = "expected of independent models (% of images)", "uncommon mistakes (% of images)"
    dots = alt.Chart(data).mark_point(size=60, filled=True, opacity=0.85)
    dots = dots.encode(
        alt.X("expected_uncommon:Q", title=x_title, axis=alt.Axis(format="~%", tickCount=6, grid=False)),
        alt.Y("uncommon:Q", title=y_title, axis=alt.Axis(format="~%", tickCount=6)),
        colour,
        shape,
        tooltip=[
            *("a:N", "b:N"),
            alt.Tooltip("uncommon:Q", format=".1%"),
            alt.Tooltip("expected_uncommon:Q", title="expected", format=".1%"),
            alt.Tooltip("kappa:Q", format=".2f"),
        ],
    )
    return alt.layer(rays, names, dots)
