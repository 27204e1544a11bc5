"""Which labels does a model get wrong?

Each label that is there is one decision: present if its probability is above 0.5 (the logit above 0), else absent. The
threshold is chosen: the rule of Neyshabur et al. 2020 for CheXpert is not known. Decisions about one example depend on
each other, so that intervals have to resample examples and not decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bequest.evaluation import tasks
from bequest.evaluation.chance import chance_rows
from bequest.evaluation.labels import auroc_error, check_labels
from bequest.evaluation.predict import Predictions

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Decisions:
    """The labels of all examples in one row, those that are missing left out.

    Attributes:
        known: bool [N, C], which labels are there.
        truth: 0 or 1 [D].
        classes: class that each is about [D].
        examples: example that each is about [D], ascending.
    """

    known: Tensor
    truth: Numbers
    classes: Numbers
    examples: Numbers

    def of(self, outputs: Tensor) -> Numbers:
        """Give a model's decisions, 0 or 1 [D], from its logits [N, C]."""
        answers: Numbers = (outputs.cpu() > 0)[self.known].numpy().astype(np.int64)
        return answers


def label_decisions(outputs: Tensor, targets: Tensor) -> Decisions:
    """Find what there is to decide.

    Args:
        outputs: logits [N, C] of one of the models.
        targets: float [N, C]: 0, 1, or NaN (missing).

    Returns:
        The decisions.

    Raises:
        ValueError: if the targets are of another kind, or no label is there.
    """
    known = check_labels(outputs, targets).cpu()
    if not bool(known.any()):
        raise ValueError(f"none of {len(targets)} examples has a label, so there are no mistakes to compare")
    examples, classes = torch.nonzero(known, as_tuple=True)
    truth = targets.cpu()[known].numpy().astype(np.int64)
    return Decisions(known, truth, classes.numpy(), examples.numpy())


def cells_by_example(wrong: NDArray[np.bool_], examples: Numbers, pairs: list[tuple[int, int]]) -> NDArray[np.float64]:
    """Count, for each example and pair of models, the decisions that both, only one, the other, and none get wrong.

    Args:
        wrong: [models, D].
        examples: [D], see `Decisions`.
        pairs: places of models.

    Returns:
        [E, 4, pairs] for the E examples that have a decision.
    """
    _, places = np.unique(examples, return_inverse=True)
    count = int(places.max()) + 1
    found = np.empty((count, 4, len(pairs)))
    for number, (i, j) in enumerate(pairs):
        a, b = wrong[i], wrong[j]
        for cell, chosen in enumerate((a & b, a & ~b, ~a & b, ~a & ~b)):
            found[:, cell, number] = np.bincount(places[chosen], minlength=count)
    return found


def resampled(values: NDArray[np.float64], *, seed: int, draws: int) -> NDArray[np.float64]:
    """Sum values over examples that are drawn with replacement, as many as there are.

    Args:
        values: [E, k].
        seed: of the draws.
        draws: how often.

    Returns:
        [draws, k].
    """
    rows, counts = np.unique(values, axis=0, return_counts=True)
    stream = np.random.default_rng(seed)
    shares = counts / counts.sum()
    parts = [min(100, draws - start) for start in range(0, draws, 100)]  # a hundred at a time, for the memory
    return np.concatenate([stream.multinomial(counts.sum(), shares, size=size) @ rows for size in parts])


def decision_rows(
    named: Mapping[str, Predictions], wrong: NDArray[np.bool_], examples: Numbers, *, task: str, seed: int, draws: int
) -> Iterator[dict[str, Any]]:
    """Say how each model does where an example has several decisions: labels, or tokens.

    Args:
        named: name -> predictions on the same examples.
        wrong: [models, D], whether each decision is wrong.
        examples: [D], see `Decisions`.
        task: `multilabel` or `language-modelling`.
        seed: of the bootstrap.
        draws: of the bootstrap.

    Yields:
        Rows of `chance_accuracy`, `classes_left_out`, and for each model `error`, the share of wrong decisions with a
        95 % interval over examples, and of labels `auroc_error`.
    """
    first = next(iter(named.values()))
    yield from chance_rows([(first.outputs, first.targets)], tasks.task(task))
    _, places = np.unique(examples, return_inverse=True)
    for name, missed in zip(named, wrong, strict=True):
        cells = np.stack([np.bincount(places, missed), np.bincount(places)], 1).astype(np.float64)
        drawn = resampled(cells, seed=seed, draws=draws)
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
        row = {"a": name, "module": "*", "n": len(missed), "unit": "share", "low": float(low), "high": float(high)}
        yield {**row, "metric": "error", "value": float(missed.mean())}
        if task != "multilabel":
            continue
        error = auroc_error(named[name].outputs, named[name].targets)
        row = {"a": name, "module": "*", "n": len(first.targets), "unit": "1 - AUROC"}
        yield {**row, "metric": "auroc_error", "value": error}
