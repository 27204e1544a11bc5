"""Which directions does a weight matrix have, and how many of them count?

A tensor with two or more dimensions is the matrix [out, everything else]: for a convolution [out, in * k * k]. All in
float64. `stable_rank` is ||W||_F^2 / ||W||_2^2 (Rudelson and Vershynin 2007), `effective_rank` the exponential of the
entropy of the singular values as shares of their sum (Roy and Vetterli 2007): both are at least 1, at most the rank,
and equal to it where all singular values are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bequest.weights.algebra import mixable


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a matrix and its first directions.

    Attributes:
        values: float64 [min(m, n)], descending.
        left: orthonormal [m, k], directions of the outputs; k is 0 for a zero matrix.
        right: orthonormal [n, k], directions of the inputs.
    """

    values: Tensor
    left: Tensor
    right: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.left.shape[0], self.right.shape[0]

    @property
    def directions(self) -> int:
        """How many directions are kept."""
        return self.left.shape[1]


def as_matrix(tensor: Tensor) -> Tensor | None:
    """Give a tensor as a float64 matrix.

    Args:
        tensor: of any shape.

    Returns:
        float64 [m, n]; None where it has no two sides longer than 1 (a vector, a position embedding) or is no real
        floating-point tensor.
    """
    if tensor.dim() < 2 or not mixable(tensor) or tensor.is_complex():
        return None
    matrix = tensor.detach().flatten(1)
    return matrix.to(torch.float64) if min(matrix.shape) > 1 else None


def decompose(matrix: Tensor, *, top: int) -> Spectrum:
    """Find the singular values of a matrix and its largest directions.

    By the eigenvectors of the smaller Gram matrix, several times faster than a singular value decomposition. It finds
    values down to 1e-6 of the largest; smaller ones come out as 0 (float32 weights hardly have them).

    Args:
        matrix: float64 [m, n], finite.
        top: directions to keep; never more than half of the smaller side (at least 1), as larger subspaces overlap
            whatever they are, nor more than the rank.

    Returns:
        The spectrum, on the CPU.

    Raises:
        ValueError: if an entry is not finite.
    """
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("the matrix has entries that are not finite, so it has no singular values")
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares, vectors = torch.linalg.eigh(wide @ wide.T)
    values = squares.flip(0).clamp(min=0).sqrt()
    values = values.where(values > 1e-6 * values[0], 0)  # rounding leaves up to sqrt(n eps), 5e-7 for n = 1000
    k = min(max(1, min(top, len(values) // 2)), int((values > 0).sum()))
    first = vectors.flip(1)[:, :k].cpu()
    second = ((wide.T @ vectors.flip(1)[:, :k]) / values[:k]).cpu()
    left, right = (first, second) if wide is matrix else (second, first)
    return Spectrum(values.cpu(), left, right)


def stable_rank(values: Tensor) -> float | None:
    """Give ||W||_F^2 / ||W||_2^2.

    Args:
        values: singular values, descending.

    Returns:
        1 to the rank; None for a zero matrix.
    """
    largest = float(values[0])
    return float((values / largest).square().sum()) if largest > 0 else None


def effective_rank(values: Tensor) -> float | None:
    """Give the exponential of the entropy of the singular values as shares of their sum.

    Args:
        values: singular values.

    Returns:
        1 to the rank; None for a zero matrix.
    """
    total = float(values.sum())
    return math.exp(float(torch.special.entr(values / total).sum())) if total > 0 else None


def overlap(a: Tensor, b: Tensor) -> float:
    """Give the mean squared cosine between two subspaces, ||A^T B||_F^2 / k.

    Args:
        a: orthonormal [n, k].
        b: orthonormal [n, k].

    Returns:
        0 (orthogonal) to 1 (equal). Two random subspaces have k / n on average.
    """
    return float((a.T @ b).square().sum()) / a.shape[1]
