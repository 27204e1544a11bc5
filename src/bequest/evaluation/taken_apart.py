"""How are the features of one model taken apart once, so that every score is cheap?

Centred features are U S V' (thin singular value decomposition, float64). LogME needs them as they are, not centred:
that is one direction more, and another decomposition of a matrix of k + 1 columns alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

ROUNDING = 1e-7  # singular values below this share of the largest are rounding: networks run in float32 (eps 1.2e-7)


@dataclass(frozen=True)
class TakenApart:
    """Features [N, D] as mean + left * values @ right.

    Attributes:
        mean: [D].
        left: [N, k], orthonormal columns, each with mean 0.
        values: [k], falling, all above 0.
        right: [k, D], orthonormal rows.
    """

    mean: Tensor
    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def examples(self) -> int:
        """N."""
        return len(self.left)

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def points(self) -> Tensor:
        """The examples [N, k] in the basis of `right`: distances between them are those of the features."""
        return self.left * self.values

    def placed(self, features: Tensor) -> Tensor:
        """Give other examples [M, D] in the same basis [M, k]."""
        return (features.double() - self.mean) @ self.right.T

    @cached_property
    def uncentred(self) -> tuple[Tensor, Tensor]:
        """Left singular vectors [N, k + 1] and values [k + 1] of the features as they are."""
        n, k = self.left.shape
        inside = self.right @ self.mean
        outside = math.sqrt(max(0.0, float(self.mean @ self.mean - inside @ inside)))
        small = torch.zeros(k + 1, k + 1, dtype=torch.float64)
        small[:k, :k] = torch.diag(self.values)
        small[k] = math.sqrt(n) * torch.cat([inside, torch.tensor([outside], dtype=torch.float64)])
        turned, values, _ = torch.linalg.svd(small)
        level = torch.full((n, 1), 1 / math.sqrt(n), dtype=torch.float64)
        kept = values > ROUNDING * values[0] if float(values[0]) > 0 else torch.zeros_like(values, dtype=torch.bool)
        return (torch.cat([self.left, level], 1) @ turned)[:, kept], values[kept]


def take_apart(features: Tensor) -> TakenApart:
    """Decompose features.

    Args:
        features: [N, D] of any float type, N at least 2.

    Returns:
        The parts in float64, without the directions in which nothing but rounding is left.

    Raises:
        ValueError: if there are fewer than two examples, the shape is another, or a number is not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features are [N, D] of at least two examples, not {list(features.shape)}")
    wide = features.detach().cpu().double()
    if not bool(wide.isfinite().all()):
        raise ValueError("some features are not finite; are the weights sound?")
    mean = wide.mean(0)
    left, values, right = torch.linalg.svd(wide - mean, full_matrices=False)
    # what is small beside the features' own size is rounding too, where they hardly vary
    size = max(float(values[0]), 1e-6 * float(wide.norm())) if len(values) else 0.0
    kept = values > ROUNDING * size
    return TakenApart(mean, left[:, kept], values[kept], right[kept])
