"""May these fine-tunes be averaged, and is the average better than the best of them?

Source: Wortsman et al. 2022 (model soups; WiSE-FT); Neyshabur et al. 2020 (fine-tunes of one pre-trained model share a
basin, so their average is no worse). Averages of solutions that do not share one collapse, so that is looked at first.

Everything is chosen on validation: which members share a basin (`shared_basins`; the group of the best one that has
company), the uniform and the greedy mean of those (`mixes`), and, where the pre-trained weights are given, how far to
go from these to that mean (WiSE-FT). What was chosen is then measured once on test and on other domains, beside every
member, the other mixes, and the ensemble of the members, which costs one inference a member.

`error`, `loss`: of `a`, which is a member, `uniform`, `greedy`, `wise-ft` (x = alpha, 0 is pre-trained), `ensemble`, or
`best, refitted`, the best member with BatchNorm refitted as every mix has it, which is advised where that alone makes
it better on validation and no mix has less error (not there where that member is advised as it is);
`split` validation or test; column `domain` names another domain. `barrier_error`, `barrier_loss` between members `a`
and `b` on validation, and `error_on_line` (x = t). `group`: which basin a member is in, 1 is that of the best one.
`in_soup`: 1 or 0 for a member `a` in the mix `b`. `greedy_error`: with the member that was tried at place x. `alpha`:
of the chosen interpolation. `inferences`: how many networks an answer takes. `difference`: error of the advised weights
`a` minus that of the best member `b`, with the paired interval. `limit`: highest barrier that counts as none. n counts
examples.

How to read it: `refused` if no two share a basin. `inconclusive` where the best weights are no better than guessing,
or a barrier within the group may be one: its height is above the limit, its interval begins below. Else `measured` if
on test the interval of the difference lies below 0 (better; against the best member with BatchNorm refitted, too, as
refitting alone may have done it), above 0 (worse), or within 2 points of 0 (as good, for one inference); else
`inconclusive`. BatchNorm has to be refitted: without `calibration` a barrier may be one of its statistics alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from bequest.decisions.decision import Decision
from bequest.decisions.mixes import Mix, greedy, interpolated, uniform
from bequest.decisions.scores import LIMIT, Scales, Score, ensemble
from bequest.decisions.shared_basins import Basins
from bequest.decisions.soup_told import ENSEMBLE, REFITTED, WISE, Found, advice, sure, told
from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches
from bequest.evaluation.chance import chance_accuracy
from bequest.weights.algebra import Weights, check_alike

Method = Literal["greedy", "uniform"]
ALPHAS = tuple(step / 10 for step in range(11))  # as in the WiSE-FT paper's figures: steps of a tenth


def soup(
    model: nn.Module,
    members: Mapping[str, Weights],
    validation_batches: Batches,
    *,
    method: Method = "greedy",
    base: Weights | None = None,
    test_batches: Batches | None = None,
    others: Mapping[str, Batches] | None = None,
    calibration: Batches | None = None,
    task: str | tasks.Loss | tasks.Task = "classification",
    points: int = 5,
    limit: float = LIMIT,
    alphas: Sequence[float] = ALPHAS,
) -> Decision:
    """Find out whether fine-tunes may be averaged, average them, and measure what came out.

    Args:
        model: the network; it is left as it was.
        members: name -> weights of fine-tunes, of the model's shapes; two or more, or one beside a base.
        validation_batches: (inputs, targets) that everything is chosen on.
        method: which mean is the soup; both are measured.
        base: the pre-trained weights, for WiSE-FT. A head that they lack, or have for other classes, is the soup's.
        test_batches: (inputs, targets) looked at once, in the end; without them nothing is confirmed.
        others: name -> (inputs, targets) of further domains, for robustness.
        calibration: training data to refit BatchNorm on, never validation or test.
        task: name of a task, a task, or a loss (outputs, targets) -> mean loss.
        points: points on each line between two members, ends included; an odd number has the middle.
        limit: highest barrier that counts as none, in the unit of the error.
        alphas: points on the line from the base (0) to the soup (1).

    Returns:
        The decision; rows as described at the top of this file. `weights` is the soup (interpolated with the base where
        that is better on validation), for `bequest.write_weights`; None if averaging is refused.

    Raises:
        ValueError: if there are too few members or points, names are taken, or weights do not fit.
    """
    began = time.perf_counter()
    _check(members, method, base, points, alphas)
    scales = Scales(model, tasks.task(task), calibration)
    alone = {name: scales.score(weights, validation_batches) for name, weights in members.items()}
    ranked = sorted(members, key=lambda name: alone[name].order)
    best = ranked[0]
    basins = Basins(scales, members, validation_batches, points, limit)
    groups = basins.groups(ranked)
    group = next((names for names in groups if len(names) > 1), [])
    mixes: dict[str, Mix] = {}
    if group:
        mixes["uniform"] = uniform(scales, members, group, validation_batches)
        mixes["greedy"] = greedy(scales, members, group, alone[group[0]], validation_batches)
    single = Mix(members[best], alone[best], (best,))
    chosen, curve = mixes.get(method, single), list[tuple[float, Score]]()
    if method == "greedy" and chosen.score.error > single.score.error:
        chosen = single  # of another basin than the group's
    called = best if chosen.names == (best,) else method  # a mean of one is that one
    if base is not None:
        wise, curve = interpolated(scales, base, chosen.weights, chosen.score, alphas, validation_batches)
        mixes[WISE] = Mix(wise.weights, wise.score, chosen.names, alpha=wise.alpha)
        if wise.alpha < 1 and (group or len(members) == 1):
            chosen, called = mixes[WISE], WISE
    found = Found(members, best, groups, group, basins, alone, mixes, chosen, called, curve, method)
    if called != best and scales.refits:
        found.refitted = Mix(*basins.end(best), (best,))  # is refitting, which a mix has, all that it gains by?
        if found.refitted.score.error <= chosen.score.error and found.refitted.score.error < alone[best].error:
            found.chosen, found.called = found.refitted, REFITTED
    if test_batches is not None:
        found.tested[None] = _tested(scales, found, test_batches)
    if scales.task.chance is not None:
        shown = validation_batches if test_batches is None else test_batches
        found.guessing = 1 - chance_accuracy(shown, scales.task)[0]
    for name, batches in (others or {}).items():
        found.tested[name] = _tested(scales, found, batches)
    costs = {"seconds": time.perf_counter() - began, "images": float(scales.images)}
    certain = sure(found, scales)
    weights = None if certain == "refused" else _copied(found.chosen.weights)
    return Decision("soup", advice(found, scales), told(found, scales), costs, certain, weights)


def _copied(weights: Weights) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _tested(scales: Scales, found: Found, batches: Batches) -> dict[str, Score]:
    """Score members, mixes, and the ensemble of those that share a basin, on examples that nothing is chosen by."""
    keep = scales.task.error is tasks.wrong_share and bool(found.group)
    scores = {name: scales.score(weights, batches, keep=keep) for name, weights in found.members.items()}
    scores |= {name: scales.score(mix.weights, batches) for name, mix in found.mixes.items()}
    if found.refitted is not None:
        scores[REFITTED] = scales.score(found.refitted.weights, batches)
    together = ensemble([scores[name] for name in found.group], batches) if keep else None
    return scores | ({ENSEMBLE: together} if together is not None else {})


def _check(
    members: Mapping[str, Weights], method: str, base: Weights | None, points: int, alphas: Sequence[float]
) -> None:
    if len(members) < (1 if base is not None else 2):
        got = ", ".join(members) or "none"
        raise ValueError(f"a soup needs two fine-tunes, or one and the pre-trained weights (base=); got {got}")
    if taken := sorted(members.keys() & {WISE, ENSEMBLE, REFITTED, *get_args(Method)}):
        raise ValueError(f"{taken[0]!r} is the name of a mix; call that member something else")
    if method not in get_args(Method):
        raise ValueError(f"the method is {' or '.join(get_args(Method))}, not {method!r}")
    if points < 3:
        raise ValueError(f"a line needs at least 3 points; got {points}")
    if not all(0 <= alpha <= 1 for alpha in alphas):
        raise ValueError(f"alphas lie between 0 (pre-trained) and 1 (fine-tuned); got {list(alphas)}")
    first = next(iter(members))
    for name, weights in members.items():
        try:
            check_alike(members[first], weights)
        except ValueError as error:
            raise ValueError(f"{first!r} and {name!r} cannot be averaged: {error}") from error
    end = members[first]
    if base is not None and not any(name in base and base[name].shape == tensor.shape for name, tensor in end.items()):
        raise ValueError(f"the base has no tensor of the fine-tunes: it has {', '.join(list(base)[:3])}, ...")
