"""Do two models have the same features, module by module?

Source: Kornblith et al. 2019 (linear CKA); Nguyen et al. 2021 (minibatch estimate); Song et al. 2007 (HSIC_1).
Neyshabur et al. 2020, Table 1, gives the order of the kinds of pairs; its absolute values cannot be repeated.

`cka` of the outputs of `module` of a and `module_b` of b, each flattened to one vector an example: HSIC(a, b) divided
by the root of HSIC(a, a) HSIC(b, b), where each HSIC is first averaged over blocks of examples, by their size. The
estimator `unbiased` takes HSIC_1, whose mean is zero for unrelated features; it may come out below zero and is never
clamped. `biased` is plain linear CKA, which tends to 1 for unrelated features of more dimensions than a batch has
examples. 1 is the same up to rotation and scale, 0 is unrelated. `low` and `high` are the 95 percent interval of a
jackknife over blocks (four or more). Of convolutions all C x H x W numbers are features: where a thing is counts too.

Controls: `cka_null` is the same number with the examples of b permuted so that none stays (what "unrelated" looks like
here); `cka_identity`, a model with itself, is 1, or null where its features are constant. Its rows, in order, name the
rows and columns of `arrays["a|b"]`, the map of all modules of a by all modules of b.

Each model runs once; the hook reduces an output to Gram matrices (`bequest.evaluation.grams`), before a later in-place
operation overwrites it; memory is that of a forward pass. Batches are cut into blocks of 16 examples (`block`): a
quarter of the work of blocks of 64, and unbiased as well. It costs spread, most between unrelated features, where that
goes as the root of 1 / (examples times block): measured over draws of 256 examples 0.025 (blocks of 64: 0.011), and
0.027 (0.022) at a CKA of 0.53.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from torch import Tensor, nn

from bequest.analyses.conditions import TRAINING_UNKNOWN, trained, training_rows
from bequest.analyses.groups import Group, counted, difference, grouped, ranged
from bequest.analyses.intervals import bounded
from bequest.analyses.pairs import CONTROLS, arm
from bequest.analyses.panels import by_target, pair_channels, with_kinds
from bequest.analyses.result import Result, table
from bequest.analyses.verdict import Verdict, judge_targets, limited
from bequest.evaluation.activations import watched
from bequest.evaluation.applied import evaluating, preserved, put
from bequest.evaluation.batches import Batches, Inputs, examples, first_examples, forward, walk
from bequest.evaluation.grams import Grams, Reduction
from bequest.evaluation.hsic import LEAST_EXAMPLES, Estimator, HsicSums
from bequest.evaluation.layout import in_fast_layout
from bequest.weights.algebra import Weights
from bequest.weights.modules import Module

if TYPE_CHECKING:
    import altair

NAME = "similarity"
BLOCK = 16  # examples in a Gram matrix (chosen; what it costs is said above)
LEAST_PAIRS = 3  # as for the basin: three replicas an arm
MOST_NAMED = 4  # modules that a sentence names
RULE = (
    "By the order in each module alone: a module counts if CKA (unbiased) between fine-tuned models is above that of "
    "either kind of pair with a random init, the 95 % interval of the difference clear of 0 (replicas counted, not "
    "pairs), and above the null of permuted examples. Holds if all modules count, under conditions if some do and no "
    "fewer than half, or if it is not known whether the arms trained; does not hold if in all of them it is clearly "
    "below. Inconclusive if an arm failed to train (train accuracy below twice chance). At least 3 pairs of a kind."
)


def similarity(
    models: Mapping[str, nn.Module] | nn.Module,
    batches: Batches,
    *,
    weights: Mapping[str, Weights] | None = None,
    modules: Sequence[str] | Sequence[Module] | None = None,
    estimator: Estimator = "unbiased",
    block: int | None = BLOCK,
    seed: int = 0,
    errors: Mapping[str, float] | None = None,
    chance: float | None = None,
    notes: Mapping[str, str] | None = None,
) -> Result:
    """Compare the features of all pairs of models, module by module, in one pass over the data.

    Args:
        models: name -> network; or one network, with `weights` to run in it.
        batches: iterable of (inputs, targets) that can be walked again; targets are not used. Batches of fewer than
            four examples are left out and counted.
        weights: name -> weights; for one network any names, for several the names of the networks.
        modules: names of the submodules whose outputs are compared; None takes each network's units in order.
        estimator: `unbiased`, or `biased` to compare with published numbers.
        block: examples in a Gram matrix, at least 4: batches are cut into blocks of so many or a few more. None takes
            whole batches. The biased estimate always does, for its bias goes with the size.
        seed: of the permutations of the null.
        errors: name of a run -> its train error at the end, 0..1, by which the verdict tells whether an arm trained.
        chance: accuracy of guessing, 0..1, likewise.
        notes: name -> what to know of this model (such as whose BatchNorm statistics it has), for column `note`.

    Returns:
        Rows for the modules that a pair shares (for all their pairs of modules where they share none), n counts
        examples; the full maps in `arrays`.

    Raises:
        ValueError: if names do not match, no batch has four examples, a block is smaller, or an error is not a share.
        KeyError: if a module does not exist; the nearest name is given.
    """
    if block is not None and block < LEAST_EXAMPLES:
        raise ValueError(f"block must be {LEAST_EXAMPLES} examples or more (or None for whole batches), got {block}")
    runs = _runs(models, weights)
    sums, left_out = HsicSums(estimator, _row_pairs, seed=seed), 0
    reduction = Reduction(block if estimator == "unbiased" else None)
    with ExitStack() as stack:
        for model in {id(model): model for _, model, _ in runs}.values():
            stack.enter_context(preserved(model) if weights is not None else evaluating(model))
        stack.enter_context(torch.no_grad())  # not inference mode, whose tensors do not tell if they were overwritten
        wanted: list[list[str]] = []
        for inputs, _ in walk(in_fast_layout([model for _, model, _ in runs], batches)):
            wanted = wanted or [_names(model, modules, inputs) for _, model, _ in runs]
            if examples(inputs) < LEAST_EXAMPLES:
                left_out += examples(inputs)
                continue
            outputs: dict[tuple[str, str], Grams] = {}
            for (name, model, own), names in zip(runs, wanted, strict=True):
                if own is not None:
                    put(model, own)
                for output, grams in _reduced(model, names, inputs, reduction):
                    outputs[name, output] = grams
            sums.add(outputs)
    if not sums.blocks:
        raise ValueError("similarity needs batches of at least 4 examples; all were smaller, so make them larger")
    return _result([name for name, _, _ in runs], sums, left_out, notes or {}, list(training_rows(errors, chance)))


def _runs(
    models: Mapping[str, nn.Module] | nn.Module, weights: Mapping[str, Weights] | None
) -> list[tuple[str, nn.Module, Weights | None]]:
    """List what is run: a name, the network, and the weights to put into it."""
    if isinstance(models, nn.Module):
        if not weights:
            raise ValueError("one model alone has nothing to be compared with: give a dict of models, or weights=")
        # a state_dict is a view of its model, which changes as weights are put in: keep what it says now
        return [(name, models, {key: one.clone() for key, one in own.items()}) for name, own in weights.items()]
    if not models:
        raise ValueError("similarity needs models: pass a dict of name -> module")
    if weights is not None and weights.keys() != models.keys():
        raise ValueError(
            f"weights= must have the names of the models: {', '.join(models)}; it has {', '.join(weights)}"
        )
    return [
        (name, model, {key: one.clone() for key, one in weights[name].items()} if weights else None)
        for name, model in models.items()
    ]


def _names(model: nn.Module, modules: Sequence[str] | Sequence[Module] | None, inputs: Inputs) -> list[str]:
    """Give the names of the modules to watch."""
    if modules is not None:
        return [module if isinstance(module, str) else module.name for module in modules]
    from bequest.evaluation.batches import device_of
    from bequest.models.order import modules as ordered

    few = first_examples(inputs, 2)
    device = device_of(model)
    moved = few.to(device) if isinstance(few, Tensor) else {name: value.to(device) for name, value in few.items()}
    return [module.name for module in ordered(model, moved)]


def _reduced(model: nn.Module, names: Sequence[str], inputs: Inputs, reduction: Reduction) -> list[tuple[str, Grams]]:
    """Run the model once and reduce each watched output to Gram matrices, inside its hook."""
    count = examples(inputs)
    found: list[tuple[str, Grams]] = []

    def receive(name: str, output: Tensor) -> None:
        if output.ndim == 0 or output.shape[0] != count:
            raise ValueError(
                f"the output of module {name!r} has shape {tuple(output.shape)} for {count} examples: its first "
                "dimension must be the examples. Leave it out of modules="
            )
        found.append((name, reduction(output)))

    with watched(model, names, receive):
        forward(model, inputs)
    return found


def _row_pairs(labels: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Give the pairs of outputs that get a row: of each two models, those of one name, or all if none is."""
    of: dict[str, list[int]] = {}
    for index, (model, _) in enumerate(labels):
        of.setdefault(model, []).append(index)
    pairs = []
    for a, b in combinations(of, 2):
        every = [(i, j) for i in of[a] for j in of[b]]
        pairs += [(i, j) for i, j in every if labels[i][1] == labels[j][1]] or every
    return pairs


def _result(
    names: Sequence[str], sums: HsicSums, left_out: int, notes: Mapping[str, str], training: list[dict[str, Any]]
) -> Result:
    """Make rows and maps from the sums."""
    own = sums.total.diagonal()
    norms = (own[:, None] * own).sqrt()
    full = torch.where(norms > 0, sums.total / norms, math.nan)
    n = sum(sums.blocks)
    rows = training
    errors = _jackknife(sums)
    for index, (i, j) in enumerate(sums.pairs):
        (a, module), (b, module_b) = sums.labels[i], sums.labels[j]
        row: dict[str, Any] = {"a": a, "b": b, "module": module, "module_b": module_b, "n": n, "unit": "CKA"}
        broken = [note for k in (i, j) if (note := _why_not(sums.labels[k], float(own[k])))]
        value, null = float(full[i, j]), float(sums.null[index] / norms[i, j]) if norms[i, j] > 0 else math.nan
        half = errors[index]
        ends = {} if half is None or broken else {"low": value - half, "high": value + half}
        row["note"] = "; ".join([*broken, *(f"{name}: {notes[name]}" for name in (a, b) if name in notes)]) or None
        rows.append({**row, "metric": "cka", "value": None if broken else value, **ends})
        rows.append({**row, "metric": "cka_null", "value": None if broken else null})
    for index, (name, module) in enumerate(sums.labels):
        row = {"a": name, "b": name, "module": module, "module_b": module, "n": n, "unit": "CKA"}
        note = _why_not((name, module), float(own[index]))
        rows.append(
            {**row, "metric": "cka_identity", "value": None if note else float(full[index, index]), "note": note}
        )
    counted = {"metric": "examples_left_out", "module": "*", "value": left_out, "unit": "examples"}
    rows.append({**counted, "n": n + left_out, "note": "in batches of fewer than 4 examples"})
    places = {name: [k for k, (model, _) in enumerate(sums.labels) if model == name] for name in names}
    arrays = {
        f"{a}|{b}": full[places[a]][:, places[b]].contiguous()
        for index, a in enumerate(names)
        for b in list(names)[index:]
    }
    return Result(NAME, table(NAME, rows), arrays)


def _why_not(label: tuple[str, str], own: float) -> str | None:
    """Say why features have no similarity, if they have none."""
    if not math.isfinite(own):
        return f"{label[1]} of {label[0]} is not finite"
    return None if own > 0 else f"{label[1]} of {label[0]} is constant"


def _jackknife(sums: HsicSums) -> list[float | None]:
    """Half the 95 percent interval of each row: leave out one block at a time; None below four blocks."""
    blocks = len(sums.blocks)
    if blocks < 4 or not sums.pairs:
        return [None] * len(sums.pairs)
    from scipy.special import stdtrit  # only this function: scipy.stats takes half a second to import

    shares = torch.tensor(sums.blocks, dtype=torch.float64)[:, None]
    first, second = [i for i, _ in sums.pairs], [j for _, j in sums.pairs]
    own = torch.stack(sums.of_own) * shares
    rest = [part.sum(0) - part for part in (torch.stack(sums.of_pairs) * shares, own[:, first], own[:, second])]
    left = rest[0] / (rest[1] * rest[2]).sqrt()
    spread = ((blocks - 1) / blocks * (left - left.mean(0)).square().sum(0)).sqrt()
    t = float(stdtrit(blocks - 1, 0.975))
    return [t * value if math.isfinite(value) else None for value in spread.tolist()]


def verdict(rows: pl.DataFrame) -> tuple[Verdict, ...]:
    """Judge claim C5 for each target.

    Args:
        rows: the rows of this analysis, of one or several targets.

    Returns:
        One verdict, or none where there are no pairs of both arms.
    """
    return judge_targets(rows, _judged)


def _judged(rows: pl.DataFrame, target: str | None) -> Verdict | None:
    """Apply the rule to the rows of one target."""
    same = rows.filter(pl.col("metric").is_in(["cka", "cka_null"]), pl.col("module") == pl.col("module_b"))
    controls = [name for name in same["a"].append(same["b"]).unique() if arm(name) in CONTROLS]
    same = same.filter(~pl.col("a").is_in(controls), ~pl.col("b").is_in(controls))  # their null is not the arms' null
    apart: dict[str, list[Any]] = {"above": [], "below": [], "unclear": []}
    tuned_pairs, other_pairs, replicas, texts, beside_p = [], [], [], [], []
    for part in same.partition_by("module", maintain_order=True):
        groups = grouped(part.filter(metric="cka"))
        tuned = groups.get("finetune & finetune")
        others = [groups[name] for name in ("randinit & randinit", "finetune & randinit") if name in groups]
        if tuned is None or not others:
            continue
        nearest: Group = max(others, key=lambda group: group.mean.value)
        margin = min((difference(tuned, other) for other in others), key=lambda one: one.value)
        null = max((abs(value) for value in part.filter(metric="cka_null")["value"].drop_nulls()), default=0.0)
        module = str(part["module"][0])
        clear = margin.low is not None and all((difference(tuned, other).low or 0) > 0 for other in others)
        below = margin.high is not None and margin.high < 0
        word = "above" if clear and tuned.mean.value > null else "below" if below else "unclear"
        apart[word].append(module)
        tuned_pairs.append(len(tuned.values))
        other_pairs.append(min(len(other.values) for other in others))
        replicas.append(min(group.replicas for group in (tuned, *others)))
        shown = [ranged(bounded(group.mean, -1.0)) for group in (tuned, nearest)]
        texts.append((margin, f"{module} {shown[0]} against {shown[1]}"))
        if "P & finetune" in groups:
            beside_p.append(tuned.mean.value > groups["P & finetune"].mean.value)
    if not texts:
        return None
    count = len(texts)
    least, closest = min(texts, key=lambda item: item[0].value)
    least = bounded(least, -2.0, 2.0)
    numbers = (
        f"in {len(apart['above'])} of {count} modules fine-tuned models are clearly more alike than any pair with a "
        f"random init, clearly less in {len(apart['below'])}; the closest is {closest}; "
        f"{counted(min(tuned_pairs), 'fine-tuned pair')}, {min(other_pairs)} or more of the others, "
        f"{counted(min(replicas), 'replica')} an arm"
    )
    if beside_p:
        numbers += f"; in {sum(beside_p)} of {len(beside_p)} they are nearer to each other than to P"

    def say(status: Any, sentence: str) -> Verdict:
        ends = {"low": least.low, "high": least.high}
        return Verdict("C5", status, sentence, RULE, n=min(replicas), low=ends["low"], high=ends["high"], target=target)

    failed, known = trained(rows)
    unknown = [] if known else [TRAINING_UNKNOWN]
    if failed:
        return say("inconclusive", f"{failed}: {numbers}.")
    if min(*tuned_pairs, *other_pairs) < LEAST_PAIRS:
        return say("inconclusive", f"Fewer than {LEAST_PAIRS} pairs of a kind: {numbers}.")
    if len(apart["above"]) == count:
        return limited(say("holds", f"In every module: {numbers}."), unknown)
    if len(apart["below"]) == count:
        return say("does not hold", f"In no module: {numbers}.")
    rest = _few(apart["below"] + apart["unclear"], count)
    if 2 * len(apart["above"]) >= count:
        return limited(say("holds under conditions", f"Not shown in {rest}: {numbers}."), unknown)
    return say("inconclusive", f"Unclear in {rest}: {numbers}.")


def _few(modules: Sequence[str], count: int) -> str:
    """Name modules; of many the first ones."""
    if len(modules) == count > 1:
        return f"all {count} modules"
    shown = list(modules) if len(modules) <= MOST_NAMED + 1 else modules[:MOST_NAMED]
    more = len(modules) - len(shown)
    return ", ".join(shown) + (f" and {more} more of {count} modules" if more else "")


def chart(rows: pl.DataFrame) -> altair.TopLevelMixin:
    """Draw CKA by module: a dot a pair, a line through the means of each kind, a grey band for the null.

    Args:
        rows: the rows of this analysis; several targets become small charts side by side.

    Returns:
        The chart; inside the grey band pairs are no more alike than unrelated features.
    """
    return by_target(rows, _panel)


def _panel(rows: pl.DataFrame) -> Any:
    """The chart of one target."""
    import altair as alt

    same = rows.filter(pl.col("module") == pl.col("module_b"), pl.col("value").is_not_null())
    data = with_kinds(same.filter(metric="cka").select("a", "b", "module", "value", "low", "high"))
    colour, dash, shape = pair_channels(data)
    order = same["module"].unique(maintain_order=True).to_list()
    null = same.filter(metric="cka_null").group_by("module", maintain_order=True)
    band = null.agg(pl.col("value").min().alias("from"), pl.col("value").max().alias("to"))
    x = alt.X("module:N", title="module, from input to output", sort=order)
    title = "CKA (1: same features)"
    tooltip = [
        *("a:N", "b:N", "module:N"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")),
    ]
    base = alt.Chart(data)
    return alt.layer(
        alt.Chart(band).mark_bar(size=14, color="#7f7f7f", opacity=0.35).encode(x, alt.Y("from:Q"), alt.Y2("to:Q")),
        base.mark_line(strokeWidth=2).encode(x, alt.Y("mean(value):Q", title=title), colour, dash),
        base.mark_point(filled=True, size=32, opacity=0.6).encode(
            x, alt.Y("value:Q", title=title), colour, shape, tooltip=tooltip
        ),
    )
