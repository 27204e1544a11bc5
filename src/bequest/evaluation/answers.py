"""What do models answer, decision by decision, and what was true?

A decision is an example's class, a label that is there, or a token that is to be said.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from bequest.evaluation.label_decisions import Numbers, label_decisions
from bequest.evaluation.labels import check_labels
from bequest.evaluation.predict import Predictions
from bequest.evaluation.token_decisions import said_tokens


def all_answers(named: Mapping[str, Predictions]) -> tuple[Numbers, Numbers, Numbers | None, Numbers | None]:
    """Find what models answer on the same examples.

    Args:
        named: name -> predictions; outputs and targets as for `bequest.mistakes`.

    Returns:
        The answers [models, D]; the truth [D]; the class that each decision is about [D], None of tokens; and, of
        labels and tokens, the example that it is about [D], None where each example is one decision.

    Raises:
        ValueError: if targets differ between the models, or do not fit the outputs.
    """
    first, reference = next((name, one.targets.cpu().numpy()) for name, one in named.items())
    if reference.ndim == 2 and np.issubdtype(reference.dtype, np.floating):
        decisions = label_decisions(named[first].outputs, named[first].targets)
        for name, one in named.items():
            if not np.array_equal(one.targets.cpu().numpy(), reference, equal_nan=True):
                raise ValueError(f"{name!r} and {first!r} have different targets; predict both on the same examples")
            check_labels(one.outputs, one.targets)
        said = np.stack([decisions.of(one.outputs) for one in named.values()])
        return said, decisions.truth, decisions.classes, decisions.examples
    if reference.ndim == 2 and np.issubdtype(reference.dtype, np.integer):
        return _tokens(named, first)
    if reference.ndim != 1 or not len(reference) or not np.issubdtype(reference.dtype, np.integer):
        raise ValueError(
            f"mistakes needs a class number for each of N > 0 examples; the targets of {first!r} have shape "
            f"{list(reference.shape)} and type {reference.dtype}"
        )
    answers = []
    for name, one in named.items():
        targets = one.targets.cpu().numpy()
        if targets.shape != reference.shape:
            raise ValueError(
                f"{name!r} has {len(targets)} examples and {first!r} has {len(reference)}; predict both on one set"
            )
        if (targets != reference).any():
            where = int(np.flatnonzero(targets != reference)[0])
            raise ValueError(
                f"{name!r} and {first!r} have different targets, first at example {where} ({targets[where]} and "
                f"{reference[where]}); predict both on the same examples in the same order"
            )
        if one.outputs.ndim != 2 or len(one.outputs) != len(reference):
            raise ValueError(
                f"mistakes needs outputs [N, classes]; those of {name!r} are {list(one.outputs.shape)} for "
                f"{len(reference)} targets"
            )
        if int(reference.min()) < 0 or int(reference.max()) >= one.outputs.shape[1]:
            raise ValueError(
                f"a target is not one of the {one.outputs.shape[1]} classes that {name!r} gives scores for"
            )
        answers.append(one.outputs.argmax(dim=1).cpu().numpy())
    return np.stack(answers), reference, reference, None


def _tokens(named: Mapping[str, Predictions], first: str) -> tuple[Numbers, Numbers, None, Numbers]:
    targets = named[first].targets
    said = []
    for name, one in named.items():
        if not torch.equal(one.targets.cpu(), targets.cpu()):
            raise ValueError(f"{name!r} and {first!r} have different targets; predict both on the same examples")
        said.append(said_tokens(one.outputs, one.targets))
    return np.stack([one.answers for one in said]), said[0].truth, None, said[0].examples
