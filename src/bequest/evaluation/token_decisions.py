"""Which tokens does a model of language get wrong?

Each token that is to be said is one decision: right if it was the likeliest. Those of one text hang together, so that
intervals have to resample texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bequest.evaluation.label_decisions import Numbers
from bequest.evaluation.tokens import IGNORED


@dataclass(frozen=True)
class SaidTokens:
    """What a model says for each token that is to be said.

    Attributes:
        answers: the likeliest token [D].
        truth: the token that came [D].
        examples: the text that it is of [D], ascending.
    """

    answers: Numbers
    truth: Numbers
    examples: Numbers


def said_tokens(outputs: Tensor, targets: Tensor) -> SaidTokens:
    """Find what a model says for each token.

    Args:
        outputs: logits [N, T, V], or the likeliest tokens int64 [N, T] (as `predict_tokens` gives them); at each place
            about the token at the next.
        targets: tokens int64 [N, T], not shifted; -100 where nothing is to be said.

    Returns:
        The answers, in order of texts and places.

    Raises:
        ValueError: if outputs and targets are of other shapes, or there is no token to be said.
    """
    answers = outputs.argmax(-1) if outputs.ndim == 3 else outputs
    if answers.shape != targets.shape or answers.ndim != 2 or answers.is_floating_point():
        raise ValueError(
            "mistakes in language needs outputs [texts, tokens, vocabulary], or the likeliest tokens int64 [texts, "
            f"tokens], and targets int64 [texts, tokens]; got {list(outputs.shape)} and {list(targets.shape)}"
        )
    truth = targets[:, 1:].cpu()
    known = truth != IGNORED
    if not bool(known.any()):
        raise ValueError(f"none of {len(targets)} texts has a token to be said; texts need two tokens or more")
    examples = torch.nonzero(known)[:, 0].numpy().astype(np.int64)
    said = answers[:, :-1].cpu()[known].numpy().astype(np.int64)
    return SaidTokens(said, truth[known].numpy().astype(np.int64), examples)
