"""How often is guessing right?

For classification the share of the largest class, for several labels an AUROC of 0.5, for language the most frequent
token. Of a loss of somebody's own nothing is known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from bequest.evaluation import tasks
from bequest.evaluation.batches import Batches, walk
from bequest.evaluation.labels import both_labels
from bequest.evaluation.tokens import IGNORED


def chance_accuracy(batches: Batches, task: str | tasks.Loss | tasks.Task = "classification") -> tuple[float, int]:
    """Give the accuracy (1 - error) of guessing.

    Args:
        batches: (inputs, targets).
        task: one that knows what guessing is, such as the three with names.

    Returns:
        The accuracy, 0..1, and the number of examples.

    Raises:
        ValueError: if the task does not know what guessing is.
    """
    known = tasks.task(task)
    if known.chance is None:
        raise ValueError(f"what guessing is worth in the task {known.name} is not known")
    targets = _all_targets(batches)
    return known.chance(targets), len(targets)


def chance_rows(batches: Batches, task: tasks.Task, split: str | None = None) -> list[dict[str, Any]]:
    """Give the row `chance_accuracy` of an analysis, and for labels `classes_left_out`, those without an AUROC.

    Args:
        batches: (inputs, targets).
        task: what is measured.
        split: which split the batches are.

    Returns:
        Rows with module, metric, split, value, n and unit; none for a task that does not know what guessing is.
    """
    if task.chance is None:
        return []
    targets = _all_targets(batches)
    row = {"module": "*", "split": split, "n": len(targets)}
    rows = [{**row, "metric": "chance_accuracy", "value": task.chance(targets), "unit": "share"}]
    if task.whole and (missing := int((~both_labels(targets)).sum())):
        rows.append({**row, "metric": "classes_left_out", "value": float(missing), "unit": "classes"})
    return rows


def _all_targets(batches: Batches) -> Tensor:
    """All targets in one; texts of other lengths are filled up with tokens that do not count."""
    found = [targets.cpu() for _, targets in walk(batches)]
    if found[0].ndim == 2 and not found[0].is_floating_point():
        longest = max(one.shape[1] for one in found)
        found = [pad(one, (0, longest - one.shape[1]), value=IGNORED) for one in found]
    return torch.cat(found)
