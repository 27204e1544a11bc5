"""How often is guessing right?"""

from __future__ import annotations

import torch

from bequest.evaluation.batches import Batches, walk


def chance_accuracy(batches: Batches) -> tuple[float, int]:
    """Give the accuracy of always guessing the largest class.

    Args:
        batches: (inputs, targets), targets class numbers [B].

    Returns:
        The share of the largest class, 0..1, and the number of examples.
    """
    targets = torch.cat([targets.cpu() for _, targets in walk(batches)])
    return float(targets.unique(return_counts=True)[1].max()) / len(targets), len(targets)
