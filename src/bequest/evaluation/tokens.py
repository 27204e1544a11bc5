"""How well does a model of language say the next token?

The model gives logits [B, T, V] at each place; targets are the tokens themselves, int64 [B, T], -100 where nothing is
to be said (padding). As in Hugging Face's models, what is said at one place is compared with the token at the next.
Loss and error are means over tokens, not over texts: a long text counts for more. Perplexity is exp(loss).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from bequest.evaluation.batches import logits

IGNORED = -100  # Hugging Face's and PyTorch's mark for a token that is no target


def token_cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Give the mean cross-entropy of the next token.

    Args:
        outputs: logits [B, T, V], or an object that has them in `.logits`.
        targets: tokens int64 [B, T], not shifted; -100 where nothing is to be said.

    Returns:
        The mean over tokens in float32, in nats, a tensor []; 0 where there is none.

    Raises:
        ValueError: if outputs and targets are of other shapes.
    """
    said, truth = _shifted(outputs, targets)
    total = cross_entropy(said.float(), truth, ignore_index=IGNORED, reduction="sum")
    return total / (truth != IGNORED).sum().clamp_min(1)


def wrong_tokens(outputs: Any, targets: Tensor) -> float:
    """Give the share of tokens that were not the likeliest, 0..1; arguments as for `token_cross_entropy`."""
    said, truth = _shifted(outputs, targets)
    known = truth != IGNORED
    return float((said.argmax(-1) != truth)[known].double().mean()) if bool(known.any()) else 0.0


def count_tokens(targets: Tensor) -> int:
    """Count the tokens that are to be said, by which a batch's mean loss counts."""
    return int((targets[:, 1:] != IGNORED).sum())


def likeliest_token(targets: Tensor) -> float:
    """Give the accuracy of always saying the most frequent token, 0..1.

    Args:
        targets: tokens int64 [N, T], not shifted.

    Returns:
        Its share of the tokens that are to be said.

    Raises:
        ValueError: if there is none.
    """
    truth = targets[:, 1:]
    truth = truth[truth != IGNORED]
    if not len(truth):
        raise ValueError("there is no token to be said; texts need two tokens or more")
    return float(truth.unique(return_counts=True)[1].max()) / len(truth)


def _shifted(outputs: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    scores = logits(outputs)
    if scores.ndim != 3 or targets.is_floating_point() or scores.shape[:2] != targets.shape:
        raise ValueError(
            "the task language-modelling needs outputs [texts, tokens, vocabulary] and targets int64 [texts, tokens], "
            f"not shifted, -100 for padding; got {list(scores.shape)} and {targets.dtype} {list(targets.shape)}"
        )
    return scores[:, :-1].flatten(0, 1), targets[:, 1:].flatten()
