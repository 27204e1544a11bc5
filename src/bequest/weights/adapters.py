"""What are the weights of a network with a low-rank adapter on it?

LoRA (Hu et al. 2021, arXiv:2106.09685) leaves a matrix W as it is and trains two thin ones: W + scale * B A, with
scale = alpha / r, or alpha / sqrt(r) (rsLoRA, arXiv:2312.03732). DoRA (arXiv:2402.09353) then gives each row of that
sum a length of its own. The sum runs in float32 at least and is rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """What an adapter adds to one tensor.

    Attributes:
        a: [r, inputs] for a linear layer, [r, entries] for an embedding, [r, inputs, k, k] for a convolution.
        b: [outputs, r]; [outputs, r, 1, 1] for a convolution.
        scale: factor of B A.
        transposed: whether the tensor is [inputs, outputs] (embeddings, GPT-2's layers).
        magnitude: [outputs], the lengths of the rows in DoRA; None without.
    """

    a: Tensor
    b: Tensor
    scale: float
    transposed: bool = False
    magnitude: Tensor | None = None


def adapted(weight: Tensor, change: LowRank) -> Tensor:
    """Merge an adapter into the tensor that it was trained on.

    Args:
        weight: the tensor of the base.
        change: what the adapter adds.

    Returns:
        A new tensor in the dtype of `weight`.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if min(change.a.dim(), change.b.dim()) < 2 or not weight.dim() or change.b[0].numel() != change.a.shape[0]:
        raise ValueError(
            f"matrices of {list(change.b.shape)} and {list(change.a.shape)} are no adapter of a tensor of "
            f"{list(weight.shape)}"
        )
    wide = torch.promote_types(weight.dtype, torch.float32)
    a, b = change.a.to(weight.device, wide), change.b.to(weight.device, wide)
    product = b.flatten(1) @ a.flatten(1) * change.scale
    if change.transposed:
        product = product.T
    if product.numel() != weight.numel() or product.shape[0] != weight.shape[0] or a.shape[2:] != weight.shape[2:]:
        raise ValueError(
            f"an adapter of {list(b.shape)} x {list(a.shape)} does not fit a tensor of {list(weight.shape)}"
        )
    merged = weight.to(wide) + product.reshape(weight.shape)
    if change.magnitude is not None:
        rows = merged.T if change.transposed else merged
        if change.magnitude.numel() != rows.shape[0]:
            raise ValueError(f"{change.magnitude.numel()} lengths do not fit {rows.shape[0]} rows")
        length = rows.flatten(1).norm(dim=1)
        factor = change.magnitude.to(weight.device, wide).flatten() / length
        scaled = rows * factor.view(-1, *[1] * (rows.dim() - 1))
        merged = scaled.T if change.transposed else scaled
    return merged.to(weight.dtype)
