"""Which modules can stay as pre-trained, and what does that save?

Source: Neyshabur et al. 2020 (some modules hardly have to move); Kumar et al. 2022 (LP-FT); Lee et al. 2022 (gradients
that choose). Candidates (`ways`) are trained and measured on validation; the advice is the cheapest that cannot be told
from the best: its error is within the 95 percent interval of the best one's (Student's t over replicas; of a single one
Wilson's over examples), and the paired interval of their difference begins at or below 0. It is confirmed once on test.

Of each way `a`: `error`, `loss` (split validation; test for the advised one and the best; means over replicas),
`difference` to the best one `b` on the same examples, `flops` and `memory` (counted, `training.step_price`; the
cheapest has the least flops, then the fewest `learning` parameters), `seconds` (of this machine, means over replicas),
`kept` (bytes of a frozen beginning's outputs), `learning_rate`, and for each module `frozen` (1 or 0) and, of
`auto-rgn`, `gradient_ratio` before the last epoch. `failed` is 1 for a way that diverged. n counts replicas for `error`
with several of them, else examples.

How to read it: `measured` if on test the interval of the difference to the best ends at or below 2 points; else
`inconclusive`: then the saving is sure, and what it costs is not. Few validation examples make cheap ways look as good
as the best; the paired interval says by how much they may be worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import polars as pl
from torch import nn

from bequest.decisions.decision import Decision
from bequest.decisions.freeze_told import Tried, advice, chosen_of, sure, told
from bequest.decisions.scores import LIMIT, Scales
from bequest.decisions.trials import Trial, Trials, examples_from
from bequest.decisions.ways import RULES, Rule, Way, body, ways
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, on_device
from bequest.models.order import modules
from bequest.training.examples import InOrder
from bequest.training.loop import Diverged, Examples
from bequest.training.recipe import Recipe
from bequest.weights.algebra import Weights


def freeze(
    model: nn.Module,
    training: Batches | Examples,
    validation_batches: Batches,
    *,
    test_batches: Batches | None = None,
    starts: Sequence[Weights] | None = None,
    prefixes: int = 3,
    criticality: pl.DataFrame | None = None,
    similarity: pl.DataFrame | None = None,
    frozen: Mapping[str, Sequence[str]] | None = None,
    rules: Sequence[Rule] = RULES,
    recipe: Recipe | None = None,
    learning_rates: Sequence[float] = (),
    task: str | tasks.Loss | tasks.Task = "classification",
    limit: float = LIMIT,
    seed: int = 0,
    cache_bytes: int = 2**30,
    tell: Callable[[float], None] = lambda share: None,
) -> Decision:
    """Train with some modules frozen, compare with other ways, and advise the cheapest that is good enough.

    Args:
        model: the pre-trained network with a head for the target, as it starts; it is left as it was.
        training: (inputs, targets), walked over once and kept in memory; or `Examples` of images, which can be
            augmented.
        validation_batches: (inputs, targets) that everything is chosen on.
        test_batches: (inputs, targets) looked at once, in the end; without them nothing is confirmed.
        starts: weights to start from, one a replica, as pre-trained weights with several fresh heads; None: the
            model's.
        prefixes: how many frozen beginnings are tried.
        criticality: rows of that analysis, of fine-tuned runs: the least critical modules are tried.
        similarity: rows of that analysis, with P: the modules whose features stay most alike are tried.
        frozen: further sets to try, name -> names of modules (`bequest.modules`).
        rules: the usual ways to try.
        recipe: how to train; None: Bequest's own.
        learning_rates: candidates of every way, chosen on validation with the first start; none: the recipe's.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        limit: difference on test that counts as none, in the unit of the error.
        seed: of data order, augmentation, dropout.
        cache_bytes: bytes of a frozen beginning's outputs that may be kept, for a way at a time.
        tell: takes the share that is done, 0..1.

    Returns:
        The decision; rows as described at the top of this file. `weights` are those of the advised way, trained from
        the first start.

    Raises:
        ValueError: if nothing can be tried, a name is unknown, or batches should be augmented.
    """
    began = time.perf_counter()
    recipe = recipe or Recipe()
    scales = Scales(model, tasks.task(task))
    examples = examples_from(training, recipe)
    shown, _ = next(iter(InOrder(examples, 2)))
    inputs = shown["inputs"] if isinstance(shown, Mapping) and shown.keys() == {"inputs"} else shown
    units = modules(model, on_device(model, inputs))
    order = body(model, units)
    candidates = ways(
        order, prefixes=prefixes, criticality=criticality, similarity=similarity, named=frozen, rules=rules
    )
    if not candidates:
        raise ValueError("there is nothing to try: give rules, prefixes, or modules to freeze")
    trials = Trials(model, units, order, examples, validation_batches, scales, recipe, seed, cache_bytes)
    beginnings = list(starts) if starts else [{n: t.detach().clone() for n, t in model.state_dict().items()}]
    tried = []
    for place, way in enumerate(candidates):
        tried.append(_tried(trials, way, beginnings, learning_rates or (recipe.learning_rate,)))
        tell((place + 1) / len(candidates))
    outcome = chosen_of(tried, limit)
    if test_batches is not None:
        for one in {outcome.best.way.name: outcome.best, outcome.chosen.way.name: outcome.chosen}.values():
            outcome.tested[one.way.name] = [scales.score(run.weights, test_batches) for run in one.runs]
    costs = {"seconds": time.perf_counter() - began, "images": float(scales.images)}
    weights = {name: tensor.detach().clone() for name, tensor in outcome.chosen.runs[0].weights.items()}
    sentence, rows = advice(outcome, order, scales.task), told(outcome, units, scales.task)
    return Decision("freeze", sentence, rows, costs, sure(outcome), weights)


def _tried(trials: Trials, way: Way, starts: Sequence[Weights], rates: Sequence[float]) -> Tried:
    """A way trained from every start, at the learning rate that is best from the first."""
    first: dict[float, Trial] = {}
    for rate in dict.fromkeys(rates):
        try:
            first[rate] = trials.run(way, starts[0], 0, rate)
        except Diverged as error:
            failure = str(error)
    if not first:
        return Tried(way, rates[0], (), failure)
    rate = min(first, key=lambda one: first[one].score.order)
    try:
        runs = [first[rate], *(trials.run(way, start, place, rate) for place, start in enumerate(starts[1:], 1))]
    except Diverged as error:
        return Tried(way, rate, (), str(error))
    return Tried(way, rate, tuple(runs))
