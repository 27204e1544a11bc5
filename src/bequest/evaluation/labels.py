"""How good are scores for several labels an example, where some labels are not known?

Loss: binary cross-entropy of the logits, the mean over the labels that are there. Error: 1 - mean AUROC over classes
(0 is perfect, 0.5 is guessing). AUROC is the chance that an example with the label scores above one without it, ties
count half: (sum of the ranks of the positives - P (P + 1) / 2) / (P Q), with mean ranks for ties, P positives and Q
negatives. It belongs to a whole set of examples: the mean over batches is another number. A class that lacks positives
or negatives has no AUROC and is left out of the mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bequest.evaluation.batches import logits


def label_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Give the mean binary cross-entropy over the labels that are there.

    Args:
        outputs: logits [B, C], or an object that has them in `.logits`.
        targets: float [B, C]: 0 (absent), 1 (present), a share between them (mixed images), or NaN (missing).

    Returns:
        The mean over labels in float32, in nats, a tensor []; 0 where no label is there.

    Raises:
        ValueError: if the targets are not of that kind.
    """
    scores = logits(outputs).float()
    known = check_labels(scores, targets)
    each = binary_cross_entropy_with_logits(scores, targets.nan_to_num(0.0).float(), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)


def count_labels(targets: Tensor) -> int:
    """Count the labels that are there, by which a batch's mean loss counts."""
    return int((~targets.isnan()).sum())


def auroc_error(outputs: Any, targets: Tensor) -> float:
    """Give 1 - mean AUROC over the classes that have both labels.

    Args:
        outputs: scores [N, C] of all examples, or an object that has them in `.logits`.
        targets: float [N, C]: 0, 1, or NaN (missing).

    Returns:
        The error, 0..1; NaN if a score is.

    Raises:
        ValueError: if no class has both labels, or the targets are not of that kind.
    """
    areas = aurocs(logits(outputs), targets)
    there = both_labels(targets)
    if not bool(there.any()):
        raise ValueError(
            f"AUROC needs an example with and one without the label, and none of {targets.shape[1]} classes has both "
            f"among {len(targets)} examples; measure on more of them"
        )
    return 1 - float(areas[there.to(areas.device)].mean())


def aurocs(scores: Tensor, targets: Tensor) -> Tensor:
    """Give the area under the ROC curve of each class.

    Args:
        scores: [N, C], higher for present.
        targets: float [N, C]: 0, 1, or NaN (missing).

    Returns:
        float64 [C], 0..1, on the CPU; NaN for a class with one label alone, or with a score that is NaN.

    Raises:
        ValueError: if the targets are not of that kind.
    """
    check_labels(scores, targets)
    scores, targets = scores.detach().double().cpu(), targets.detach().double().cpu()
    if not bool(((targets == 0) | (targets == 1) | targets.isnan()).all()):
        raise ValueError("AUROC needs labels that are 0, 1 or NaN (missing); there are others among the targets")
    return torch.stack([_area(scores[:, place], targets[:, place]) for place in range(targets.shape[1])])


def both_labels(targets: Tensor) -> Tensor:
    """Tell which classes have examples with and without the label, bool [C]."""
    return (targets == 1).any(0) & (targets == 0).any(0)


def check_labels(scores: Tensor, targets: Tensor) -> Tensor:
    """Refuse targets that are no labels; give which labels are there.

    Args:
        scores: [B, C].
        targets: float [B, C].

    Returns:
        bool [B, C], on the device of the targets.

    Raises:
        ValueError: if the targets are whole numbers, or of another shape than the scores.
    """
    if not targets.is_floating_point() or targets.shape != scores.shape or targets.ndim != 2:
        raise ValueError(
            f"the task multilabel needs targets float [examples, classes], 0, 1 or NaN (missing), as many as outputs; "
            f"got {targets.dtype} {list(targets.shape)} for outputs {list(scores.shape)}. One class an example is the "
            "task classification"
        )
    return ~targets.isnan()


def _area(scores: Tensor, labels: Tensor) -> Tensor:
    known = ~labels.isnan()
    scores, positive = scores[known], labels[known] == 1
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives or bool(scores.isnan().any()):
        return torch.tensor(torch.nan, dtype=torch.float64)
    _, place, counts = scores.unique(return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts.double() - 1) / 2  # of equal scores the mean of their ranks
    above: Tensor = ranks[place[positive]].sum() - positives * (positives + 1) / 2
    return above / (positives * negatives)
