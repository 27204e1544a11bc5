"""Are all numbers of these weights numbers?"""

from __future__ import annotations

import torch

from bequest.weights.algebra import Weights, mixable


def check_finite(weights: Weights, what: str) -> None:
    """Refuse weights with NaN or infinity in them: every distance, mean and output would be NaN without a word.

    Args:
        weights: name to tensor, walked once, a tensor at a time.
        what: what to call them in the message, such as the path of the file.

    Raises:
        ValueError: names the first tensor, and says how many of its numbers are no numbers.
    """
    for name, tensor in weights.items():
        if mixable(tensor) and tensor.numel():
            wide = tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 2 else tensor
            bad = int((~torch.isfinite(wide)).sum())
            if bad:
                raise ValueError(
                    f"{what}: {name} has {bad:,} of {tensor.numel():,} numbers that are NaN or infinite; the training "
                    "that left them diverged, take an earlier checkpoint"
                )
