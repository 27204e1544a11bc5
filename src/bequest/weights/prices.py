"""How does the answer to one assignment problem make the next one easy?

Adding a number to a row or a column of the scores changes the sum of every assignment alike, so the best one stays the
best. With the right numbers (the dual solution: a price a column) every row's best column is its own, and a solver has
nothing to search. The prices of one problem are nearly right for a problem whose scores differ little: the solver then
searches only where it must. Wrong prices cost time and no more; all is rounded as the scores are.

Prices of a known answer are shortest paths between columns (Bellman-Ford): a column that a row would rather have costs
at least what the row would gain. Prices of a first problem come from an auction (Bertsekas 1988), cut short.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Measured on the scores of ResNet-50: what is left after these is less work for the solver than for another round.
PATHS = 200  # rounds of shortest paths
BIDS = 300  # rounds of an auction
LEAST = 0.01  # share of the channels that an auction leaves without a column
STEP = 0.01  # of the scores' standard deviation, by which a bid is raised
SMALL = 256  # channels; up to here the solver is done before an auction is


def eased(scores: Tensor, prices: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give an assignment problem with the same answers that is easier to solve.

    Args:
        scores: [n, n], to be maximised, finite.
        prices: [n] of the columns, of a similar problem; None where there was none.

    Returns:
        Scores [n, n], none above 0, a 0 in each column; and the prices [n] that they were eased with.
    """
    if prices is None:
        prices = scores.new_zeros(len(scores)) if len(scores) <= SMALL else _auctioned(scores)
    easy = scores - prices
    easy -= easy.amax(1, keepdim=True)
    further = easy.amax(0)
    return easy.sub_(further), prices + further


def paid(easy: Tensor, prices: Tensor, order: Tensor) -> Tensor:
    """Give prices at which each row's best column is the one that it got.

    Args:
        easy: scores [n, n] from `eased`.
        prices: [n] from `eased`.
        order: int64 [n], the column that each row got in a best assignment.

    Returns:
        Prices [n] in the new order of the columns: entry i is the price of column order[i].
    """
    loss = easy.index_select(1, order)
    loss = loss.diagonal()[:, None] - loss  # of a row that takes another column than its own
    best = torch.zeros_like(prices)
    changed = torch.arange(len(order), device=easy.device)
    for _ in range(PATHS):
        reached = (loss.index_select(0, changed) + best[changed, None]).amin(0)
        changed = (reached < best).nonzero().flatten()
        if not len(changed):
            break
        best[changed] = reached[changed]
    return prices[order] - best


def _auctioned(scores: Tensor) -> Tensor:
    """Let rows without a column bid for the one they like best, each by what the next best is worse."""
    n = len(scores)
    prices = scores.new_zeros(n)
    owner = torch.full((n,), -1, device=scores.device)
    free = torch.arange(n, device=scores.device)
    step = STEP * scores.std()
    for _ in range(BIDS):
        values, columns = (scores.index_select(0, free) - prices).topk(2, dim=1)
        column, bid = columns[:, 0], values[:, 0] - values[:, 1] + step
        highest = torch.zeros_like(prices).scatter_reduce_(0, column, bid, "amax")
        won = highest[column] == bid
        owner[column[won]] = free[won]
        prices += highest
        held = torch.zeros(n, dtype=torch.bool, device=scores.device)
        held[owner[owner >= 0]] = True
        free = (~held).nonzero().flatten()
        if len(free) <= LEAST * n:
            break
    return prices
