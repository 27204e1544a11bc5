"""Does pre-training help through features, or through low-level statistics?

Source: Neyshabur et al. 2020, section 2.2 and figure 3. Every arm is trained and tested on images whose blocks are
shuffled, at several block sizes (`x`, in pixels; 0 is the shuffle of all pixels and colours, the side of the image is
no shuffle). The smaller the blocks, the less of a shape is left, while every pixel value stays.

`error` is the final error (split test, or validation where a run has no test; and train). `mean_train_accuracy` is the
optimisation speed: the mean of the train accuracy over the epochs from 1 on that all runs of a block size have.
`error_difference` and `mean_train_accuracy_difference` are a - b over pairs of replicas with one number.
`relative_drop` is 100 (A_PT - A_RIT) / A_PT in percent, A the mean accuracies of `finetune` and `randinit`. It is null
where A_PT is below twice chance, as the ratio is then noise; `note` says so, and where `randinit` failed to train, as a
drop is then no transfer. `moved_fraction` is the share of blocks that the permutation moved. Intervals of errors and
accuracies are cut to 0..1, those of differences are not.

How to read it: where features are reused, the relative drop falls with the block size. What pre-training gives at
single pixels is not shapes; the control arms (`meanvar`, `shuffled`) have the scale of P's weights and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from bequest.analyses.groups import counted, ranged, rank_correlation
from bequest.analyses.intervals import Interval, bounded, linearised_ratio, mean_interval, paired_difference
from bequest.analyses.pairs import ARMS, CONTROLS, arm, replica_pairs, replicas
from bequest.analyses.panels import means
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Status, Verdict, combine, judge_targets, trained_accuracy
from bequest.training.outcome import final_error, mean_train_accuracy, shared_epochs

if TYPE_CHECKING:
    import altair

    from bequest.training.trajectory import Trajectory

NAME = "block_shuffle"
Permutation = Literal["fixed", "per_image"]
MODES = {"fixed": "one permutation", "per_image": "a permutation for each image"}
SCALE = ("meanvar", "shuffled")  # the control arms that have the scale of P's weights
LEAST_PAIRS = 3  # science.md, section 6, rule 3
SPEED = "mean_train_accuracy"
NONE = "no shuffle"
REUSE_RULE = (
    "Holds if the relative drop without shuffle is above 0 and larger than at the smallest blocks that can be judged, "
    "both 95 % t intervals over pairs of replicas clear of 0; does not hold if the drop is negative without shuffle, "
    "or smaller than at small blocks. Blocks can be judged where finetune is above twice chance, randinit was trained "
    "and blocks moved; they are small up to a quarter of the side. At least 3 pairs. The interval is of the change of "
    "the relative drop, in percentage points."
)
STATISTICS_RULE = (
    "Holds if finetune has the higher mean train accuracy on images of shuffled single pixels (block size 1 and pixels "
    "with colours, those that were run and where randinit was trained), and also beats the control arms meanvar and "
    "shuffled there; under conditions if it beats randinit alone, as the scale of the weights may then do it; does not "
    "hold if it is slower. All by 95 % t intervals over at least 3 pairs of replicas; the interval is of the "
    "difference to randinit at the smallest blocks, in points."
)


def block_shuffle(
    trajectories: Mapping[int | str, Mapping[str, Trajectory]],
    *,
    size: int,
    chance: float,
    moved: Mapping[int | str, float | Mapping[str, float]] | None = None,
    permutation: Permutation = "fixed",
) -> Result:
    """Compare the arms on images with shuffled blocks.

    Args:
        trajectories: block size in pixels, or "pixel-channel" -> name of a run (`finetune/0`) -> its trajectory. The
            runs without shuffle stand under `size`.
        size: side of the images in pixels.
        chance: accuracy of guessing, 0..1.
        moved: block size -> share of blocks that moved, 0..1, for all runs or run by run.
        permutation: whether a run has one permutation or every image its own; goes into the column `permutation`.

    Returns:
        The rows; metrics as described at the top of this file.

    Raises:
        ValueError: if there are no trajectories, one has no train or final error, or a block size is out of range.
    """
    if not trajectories:
        raise ValueError("block_shuffle needs trajectories: pass a dict of block size -> run -> trajectory")
    every = [run.metrics for runs in trajectories.values() for run in runs.values()]
    split = "test" if all((metrics["split"] == "test").any() for metrics in every) else "validation"
    rows: list[dict[str, Any]] = [_row("chance_accuracy", None, value=chance), _row("image_size", None, value=size)]
    for block, runs in sorted(trajectories.items(), key=lambda item: _place(item[0], size)):
        here = moved.get(block) if moved else None
        shares = dict.fromkeys(runs, here) if isinstance(here, float | int) or here is None else dict(here)
        rows += _block_rows(_place(block, size), runs, split, chance, size, shares)
    listed = [{"note": None, **row, "permutation": permutation} for row in rows]
    return Result(NAME, table(NAME, listed).with_columns(pl.col("note").cast(pl.String)))


def _place(block: int | str, size: int) -> int:
    if block == "pixel-channel":
        return 0
    if not isinstance(block, int) or not 1 <= block <= size:
        raise ValueError(f"a block size is 1 to {size} pixels (the image's side) or 'pixel-channel', not {block!r}")
    return block


def _row(metric: str, a: str | None, found: Interval | None = None, **more: Any) -> dict[str, Any]:
    numbers = {} if found is None else {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"metric": metric, "a": a, "module": "*", "unit": "share", **numbers, **more}


def _block_rows(
    x: int, runs: Mapping[str, Trajectory], split: str, chance: float, size: int, moved: Mapping[str, float | None]
) -> Iterator[dict[str, Any]]:
    """All numbers of one block size."""
    parts = (split, "train")
    errors = {part: {name: final_error(name, run.metrics, part) for name, run in runs.items()} for part in parts}
    counting = [run.metrics for name, run in runs.items() if arm(name) not in CONTROLS]
    until = shared_epochs(counting or [run.metrics for run in runs.values()])
    speeds = {name: mean_train_accuracy(name, run.metrics, until=until) for name, run in runs.items()}
    measured = [("error", part, values) for part, values in errors.items()] + [(SPEED, "train", speeds)]
    arms = replicas(runs)
    for metric, part, values in measured:
        for name, value in values.items():
            yield _row(metric, name, value=value, n=1, split=part, x=x)
        for group, names in arms.items():
            if names != [group]:
                yield _row(metric, group, bounded(mean_interval([values[name] for name in names])), split=part, x=x)
    for name, share in moved.items():
        if share is not None:
            yield _row("moved_fraction", name, value=share, n=1, x=x)
    compared = [(a, "randinit") for a in arms if a != "randinit"] + [("finetune", b) for b in CONTROLS]
    for a, b in compared:
        pairs = replica_pairs(arms.get(a, []), arms.get(b, []))
        for metric, part, values in measured if pairs else ():
            if (metric, part) != ("error", "train"):
                apart = paired_difference([values[left] for left, _ in pairs], [values[right] for _, right in pairs])
                yield _row(f"{metric}_difference", a, apart, b=b, split=part, x=x)
    if pairs := replica_pairs(arms.get("finetune", []), arms.get("randinit", [])):
        accuracies = [(1 - errors[split][left], 1 - errors[split][right]) for left, right in pairs]
        fitted = [1 - errors["train"][name] for name in arms["randinit"]]
        yield _drop_row(x, accuracies, sum(fitted) / len(fitted), split, chance, x != size and 0 in moved.values())


def _drop_row(
    x: int, accuracies: list[tuple[float, float]], fitted: float, split: str, chance: float, still: bool
) -> dict[str, Any]:
    row = _row("relative_drop", "finetune", b="randinit", split=split, x=x, unit="%", n=len(accuracies))
    mean = sum(tuned for tuned, _ in accuracies) / len(accuracies)
    if mean < trained_accuracy(chance):
        return {**row, "value": None, "note": f"finetune is right in {100 * mean:.1f} %, not twice chance"}
    row |= _row("relative_drop", "finetune", mean_interval(_drops(accuracies)), unit="%")
    if fitted < trained_accuracy(chance):
        return {**row, "note": f"randinit failed to train: {100 * fitted:.1f} % right on train"}
    return {**row, "note": "a permutation moved no block"} if still else row


def _drops(accuracies: list[tuple[float, float]]) -> list[float]:
    """One number a pair whose mean is the relative drop in percent."""
    apart = [100 * (tuned - random) for tuned, random in accuracies]
    return linearised_ratio(apart, [tuned for tuned, _ in accuracies])


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge the claims C2 and C3 for each target, and both kinds of permutation where both were run.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        A verdict for each claim that the rows can speak of: C2 needs both arms, C3 also single pixels shuffled.
    """
    return (*judge_targets(rows, _by_mode(_feature_reuse)), *judge_targets(rows, _by_mode(_low_level)))


def _by_mode(judge: Callable[[pl.DataFrame], Verdict | None]) -> Callable[..., Verdict | None]:
    """Judge each kind of permutation and join what comes out."""

    def judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
        parts = rows.partition_by("permutation", maintain_order=True)
        found = [(part["permutation"][0], judge(part)) for part in parts]
        spoken = [replace(one, target=MODES[mode]) for mode, one in found if one is not None]
        if len(spoken) < 2:
            return replace(spoken[0], target=target) if spoken else None
        status = combine(spoken).status
        deciding = next((one for one in spoken if one.status == status), spoken[0])
        return replace(deciding, status=status, sentence=_in_each_mode(spoken), target=target)

    return judged


def _in_each_mode(spoken: Sequence[Verdict]) -> str:
    """Join the sentences on several kinds of permutation; an answer that they share comes first."""
    plain = [one.sentence.rstrip(".").partition(": ") for one in spoken]
    if len({(one.status, answer) for one, (answer, _, _) in zip(spoken, plain, strict=True)}) == 1:
        told = "; ".join(f"{one.target}: {numbers}" for one, (_, _, numbers) in zip(spoken, plain, strict=True))
        return f"{plain[0][0]}, by either kind of permutation: {told}."
    told = "; ".join(f"{one.target}: {one.status} ({''.join(text)})" for one, text in zip(spoken, plain, strict=True))
    return f"By kind of permutation: {told}."


def _feature_reuse(rows: pl.DataFrame) -> Verdict | None:
    """Claim C2 for one target and kind of permutation."""
    drops = {row["x"]: row for row in rows.filter(pl.col("metric") == "relative_drop").iter_rows(named=True)}
    size = rows.filter(pl.col("metric") == "image_size")["value"][0]
    if not drops:
        return None
    usable = sorted(x for x, row in drops.items() if row["value"] is not None and row["note"] is None)
    left_out = "".join(f"; at {_words(x, size)}: {drops[x]['note']}" for x in drops if x not in usable)
    small = next((x for x in usable if 1 <= x <= size / 4), None)

    def say(status: Status, sentence: str, apart: Interval | None = None) -> Verdict:
        ends = (None, None) if apart is None else (apart.low, apart.high)
        n = apart.n if apart else max(row["n"] for row in drops.values())
        return Verdict("C2", status, f"{sentence}{left_out}.", REUSE_RULE, n=n, low=ends[0], high=ends[1])

    if size not in usable:
        return say("inconclusive", "The images without shuffle cannot be judged")
    if small is None:
        return say("inconclusive", "No block size up to a quarter of the side can be judged")
    pairs = [_pairs(rows, x, "finetune", "randinit") for x in (size, small)]
    common = [pair for pair in pairs[0] if pair in pairs[1]]
    if not common:
        return say("inconclusive", "The replicas with and without shuffle have no number in common")
    whole, part = (_drops([found[pair] for pair in common]) for found in pairs)
    drop, rest, apart = mean_interval(whole), mean_interval(part), paired_difference(whole, part)
    judged = [drops[x]["value"] for x in usable if x > 0]
    numbers = f"relative drop {ranged(drop, '.0f')} % without shuffle, {ranged(rest, '.0f')} % at {_words(small, size)}"
    numbers += f", a change of {ranged(apart, '+.0f')} points, {counted(apart.n, 'pair')}"
    if len(judged) > 2:
        numbers += f", rank correlation with the block size {rank_correlation(range(len(judged)), judged):+.2f}"
    if apart.n < LEAST_PAIRS or drop.low is None or drop.high is None or apart.low is None or apart.high is None:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of replicas: {numbers}", apart)
    if drop.high < 0:
        return say("does not hold", f"Pre-training does not help without shuffle: {numbers}", apart)
    if apart.high < 0:
        return say("does not hold", f"The drop is larger at small blocks: {numbers}", apart)
    if drop.low > 0 and apart.low > 0:
        return say("holds", f"The drop shrinks with the blocks: {numbers}", apart)
    crossing = "no clear drop without shuffle" if drop.low <= 0 else "no clear change of the drop"
    return say("inconclusive", f"There is {crossing}: {numbers}", apart)


def _low_level(rows: pl.DataFrame) -> Verdict | None:
    """Claim C3 for one target and kind of permutation."""
    places = [x for x in (0.0, 1.0) if all(_runs(rows, x, which) for which in ("finetune", "randinit"))]
    if not places:
        return None
    chance = rows.filter(pl.col("metric") == "chance_accuracy")["value"][0]
    trained = [x for x in places if _fitted(rows, x, "randinit") >= trained_accuracy(chance)]
    ahead = {x: _faster(rows, x, "finetune", "randinit") for x in places}
    first = ahead[(trained or places)[0]]
    numbers = "; ".join(
        f"at {_words(x)} the mean train accuracy of finetune minus randinit is {ranged(ahead[x], '+.1f', 100)} points"
        + ("" if x in trained else f" (randinit failed to train, {100 * _fitted(rows, x, 'randinit'):.1f} % right)")
        for x in places
    )
    numbers += f", {counted(first.n, 'pair')}"

    def say(status: Status, sentence: str) -> Verdict:
        ends = [None if end is None else 100 * end for end in (first.low, first.high)]
        return Verdict("C3", status, sentence, STATISTICS_RULE, n=first.n, low=ends[0], high=ends[1])

    if not trained:
        return say("inconclusive", f"Nothing to compare with: {numbers}.")
    if first.n < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of replicas: {numbers}.")
    if any((ahead[x].high or 0) < 0 for x in trained):
        return say("does not hold", f"Slower without any shape left: {numbers}.")
    if not all((ahead[x].low or 0) > 0 for x in trained):
        return say("inconclusive", f"Not clearly faster without any shape left: {numbers}.")
    there = [name for name in SCALE if all(_faster(rows, x, "finetune", name).n for x in trained)]
    here = [name for name in there if all(_fitted(rows, x, name) >= trained_accuracy(chance) for x in trained)]
    if not here:
        lack = f"As {' and '.join(there)} failed to train" if there else "Without the control arms meanvar and shuffled"
        unknown = "what P knows of pixel values and the scale of its weights cannot be told apart"
        return say("holds under conditions", f"Faster without any shape left: {numbers}. {lack} here, {unknown}.")
    beaten = [name for name in here if all((_faster(rows, x, "finetune", name).low or 0) > 0 for x in trained)]
    helped = [name for name in here if all((_faster(rows, x, name, "randinit").low or 0) > 0 for x in trained)]
    compared = f"Against the control arms, at {_words(trained[0])}: " + ", ".join(
        f"finetune minus {name} {ranged(_faster(rows, trained[0], 'finetune', name), '+.1f', 100)}, {name} minus "
        f"randinit {ranged(_faster(rows, trained[0], name, 'randinit'), '+.1f', 100)} points"
        for name in here
    )
    if len(beaten) == len(here):
        scale = f"their scale ({' and '.join(helped)}) explains a part" if helped else "not their scale alone"
        left = f"what P's weights know of pixel values, {scale}"
        return say("holds", f"Faster without any shape left: {numbers}. {compared}. This leaves {left}.")
    left = "the scale of the weights is enough to explain it" if helped else "the control arms do not settle why"
    return say("holds under conditions", f"Faster without any shape left: {numbers}. {compared}; {left}.")


def _runs(rows: pl.DataFrame, x: float, which: str) -> dict[str, dict[str, float]]:
    """Metric and split -> run -> value, for the replicas of an arm at a block size."""
    here = rows.filter(pl.col("x") == x, pl.col("metric").is_in(["error", SPEED])).iter_rows(named=True)
    found: dict[str, dict[str, float]] = {}
    for row in here:
        key = SPEED if row["metric"] == SPEED else "train" if row["split"] == "train" else "final"
        found.setdefault(key, {})[row["a"]] = row["value"]
    for key, values in found.items():
        names = [name for name in values if name.startswith(f"{which}/")] or [name for name in values if name == which]
        found[key] = {name: values[name] for one in replicas(names).values() for name in one}
    return found if found and all(found.values()) else {}


def _pairs(rows: pl.DataFrame, x: float, a: str, b: str) -> dict[tuple[str, str], tuple[float, float]]:
    """Final accuracies of the pairs of two arms."""
    left, right = (_runs(rows, x, which)["final"] for which in (a, b))
    return {(one, other): (1 - left[one], 1 - right[other]) for one, other in replica_pairs(left, right)}


def _faster(rows: pl.DataFrame, x: float, a: str, b: str) -> Interval:
    left, right = (_runs(rows, x, which).get(SPEED, {}) for which in (a, b))
    found = [(left[one], right[other]) for one, other in replica_pairs(left, right)]
    return paired_difference(*zip(*found, strict=True)) if found else Interval(float("nan"), None, None, 0)


def _fitted(rows: pl.DataFrame, x: float, which: str) -> float:
    errors = _runs(rows, x, which)["train"].values()
    return 1 - sum(errors) / len(errors)


def _words(x: float, size: float | None = None) -> str:
    if x == 0:
        return "pixels with colours"
    return "no shuffle" if x == size else f"blocks of {x:.0f} pixel{'s' if x > 1 else ''}"


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw final accuracy and optimisation speed of each arm over the block size, side by side.

    Args:
        rows: the rows of this analysis; each target and kind of permutation is one more row of panes.

    Returns:
        The chart; bars are the intervals over replicas. The numbers above the final accuracies are the relative drop,
        in brackets where its row has a note.
    """
    import altair as alt

    panes: list[Any] = []
    parts = rows.partition_by("target", "permutation", maintain_order=True)
    for part in parts:
        names = [word for word in (part["target"][0], MODES[part["permutation"][0]]) if word] if len(parts) > 1 else []
        left = _pane(part, "error", "final accuracy (%)")
        if part.filter(pl.col("metric") == "relative_drop")["value"].is_not_null().any():
            left = left + _drops_above(part)
        right = _pane(part, SPEED, "mean train accuracy (%)")
        for pane, words in ((left, "numbers: relative drop (%)"), (right, "optimisation speed")):
            panes.append(pane.properties(width=260, height=220, title=[*([", ".join(names)] if names else []), words]))
    return alt.concat(*panes, columns=2)


def _pane(rows: pl.DataFrame, metric: str, title: str) -> Any:
    """One number of every arm."""
    import altair as alt

    data = _shown(rows, metric).select("a", "x", "value", "n", "low", "high", "block").sort("x")
    arms = replicas(data["a"].unique(maintain_order=True))
    scale = alt.Scale(domain=list(arms), range=[ARMS.get(name, ARMS["other"]) for name in arms])
    y = alt.Y("value:Q", title=title, axis=alt.Axis(format="~%"), scale=alt.Scale(zero=True))
    told = [alt.Tooltip("a:N", title="arm"), alt.Tooltip("block:O", title="block size")]
    return means(data, _blocks(rows), y, alt.Color("a:N", title="arm", scale=scale), told)


def _drops_above(rows: pl.DataFrame) -> Any:
    """The relative drop in percent, above the accuracies that it is of."""
    import altair as alt

    tops = _shown(rows, "error").group_by("x", "block").agg(pl.col("high").max().alias("top"))
    drops = rows.filter(pl.col("metric") == "relative_drop", pl.col("value").is_not_null()).join(tops, on="x")
    number = pl.col("value").round(0).cast(pl.Int64).cast(pl.String)
    words = pl.when(pl.col("note").is_null()).then(number).otherwise("(" + number + ")").alias("drop")
    data = drops.select("x", "top", "value", "low", "high", "note", "block", words).sort("x")
    told = [alt.Tooltip(f"{name}:Q", title=f"drop, {name} (%)", format=".0f") for name in ("value", "low", "high")]
    text, y = alt.Chart(data).mark_text(dy=-9, fontSize=10), alt.Y("top:Q")
    return text.encode(_blocks(rows), y, text="drop:N", tooltip=["block:N", *told, "note:N"])


def _shown(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """The means of the arms, accuracies as in the paper's figure."""
    chosen = rows.filter(pl.col("metric") == metric)
    chosen = chosen.filter(pl.col("split") != "train") if metric == "error" else chosen
    chosen = chosen.filter(pl.col("a").is_in(list(replicas(chosen["a"].unique(maintain_order=True)))))
    if metric == "error":
        chosen = chosen.with_columns(value=1 - pl.col("value"), low=1 - pl.col("high"), high=1 - pl.col("low"))
    size = rows.filter(pl.col("metric") == "image_size")["value"][0]
    block = pl.col("x").cast(pl.Int64).cast(pl.String).replace({"0": "*", f"{size:.0f}": NONE}).alias("block")
    return chosen.with_columns(block, *(pl.coalesce(end, "value").alias(end) for end in ("low", "high")))


def _blocks(rows: pl.DataFrame) -> Any:
    """The axis of block sizes, one step each."""
    import altair as alt

    order = _shown(rows, "error").sort("x")["block"].unique(maintain_order=True)
    two_lines = f"datum.label == '{NONE}' ? ['no', 'shuffle'] : datum.label"
    axis = alt.Axis(labelAngle=0, labelOverlap=False, labelFontSize=11, labelExpr=two_lines)
    return alt.X("block:O", title="block size in pixels (*: colours too)", sort=order.to_list(), axis=axis)
