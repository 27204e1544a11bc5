"""How much do two sets of features of the same examples have in common?

Source: Song et al. 2007 (HSIC_1); Kornblith et al. 2019 (linear CKA); Nguyen et al. 2021 (average over batches first,
then the ratio); Szekely and Rizzo 2014 (U-centring).

Features become one vector: the upper triangle of their centred Gram matrix (`bequest.evaluation.grams`). Inner products
of such vectors are HSIC, so that all pairs of many outputs are one matrix product. U-centring makes that inner product
HSIC_1, the estimate whose mean is zero for unrelated features. All of it runs in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from bequest.evaluation.grams import Grams, stacked, whole

Estimator = Literal["unbiased", "biased"]
Label = tuple[str, str]  # model, output

LEAST_EXAMPLES = 4  # HSIC_1 divides by n - 3
ROUNDING = 1e-12  # variance over mean square: below this, float32 features (eps 1.2e-7) are constant


def hsic1(k: Tensor, l: Tensor) -> float:  # noqa: E741 - the paper's letters
    """Give the unbiased estimate of the Hilbert-Schmidt independence criterion (Song et al. 2007, equation 5).

    Args:
        k: Gram matrix [n, n] of one set of features, n >= 4.
        l: Gram matrix [n, n] of the other, of the same examples.

    Returns:
        The estimate in float64, in the product of the two units; it may be negative.

    Raises:
        ValueError: if there are fewer than four examples.
    """
    n = len(k)
    if n < LEAST_EXAMPLES:
        raise ValueError(f"the unbiased estimate needs at least {LEAST_EXAMPLES} examples; got {n}")
    return float((_centred(k, "unbiased") * _centred(l, "unbiased")).sum()) / (n * (n - 3))


def linear_cka(x: Tensor, y: Tensor, *, estimator: Estimator = "unbiased") -> float:
    """Give the linear CKA of two sets of features of the same examples, all at once.

    Args:
        x: [n, ...], flattened to one vector an example; n >= 4.
        y: [n, ...].
        estimator: `unbiased` (debiased CKA) or `biased` (Kornblith's).

    Returns:
        The similarity, at most 1; NaN where features are constant.

    Raises:
        ValueError: if the numbers of examples differ or are below four.
    """
    if len(x) != len(y) or len(x) < LEAST_EXAMPLES:
        raise ValueError(f"CKA needs the same examples on both sides, at least 4; got {len(x)} and {len(y)}")
    a, b = (gram_vector(features, estimator) for features in (x, y))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else math.nan


def gram_vector(features: Tensor, estimator: Estimator) -> Tensor:
    """Reduce features to the vector whose inner products are HSIC up to a factor of n alone.

    Args:
        features: [n, ...] of any float type, on any device; flattened to one vector an example.
        estimator: which centring.

    Returns:
        The upper triangle of the centred Gram matrix [n (n + 1) / 2] in float64, entries off the diagonal times the
        root of 2, for they stand for two. Features that are constant but for rounding give zeros.

    Raises:
        ValueError: if there is no such estimator.
    """
    grams = whole(features)
    return gram_vectors(grams.products[0][0], grams.levels[0][0], estimator)


def gram_vectors(products: Tensor, levels: Tensor, estimator: Estimator) -> Tensor:
    """Give the vectors of many outputs, or many blocks of examples, at once.

    Args:
        products: [..., n, n], as in `Grams`.
        levels: [...], as in `Grams`.
        estimator: which centring.

    Returns:
        [..., n (n + 1) / 2], as `gram_vector` gives them.

    Raises:
        ValueError: if there is no such estimator.
    """
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"there is no estimator {estimator!r}; known: unbiased, biased")
    n = products.shape[-1]
    variation = _trace(products) - products.sum((-2, -1)) / n  # what is left of the trace when the mean is taken away
    i, j = torch.triu_indices(n, n, device=products.device)
    found = _centred(products, estimator)[..., i, j]
    found = torch.where(i != j, math.sqrt(2), 1.0).to(found) * found
    return torch.where((variation <= ROUNDING * (variation + n * levels))[..., None], 0.0, found)


def _centred(gram: Tensor, estimator: Estimator) -> Tensor:
    """Centre Gram matrices [..., n, n] in float64: by means, or U-centred with a zero diagonal."""
    k, n = gram.double(), gram.shape[-1]
    if estimator == "biased":
        mean = k.mean(dim=-1)
        return k - mean[..., :, None] - mean[..., None, :] + mean.mean(dim=-1)[..., None, None]
    k = _hollow(k)
    total = k.sum(dim=-1)
    mean = total.sum(dim=-1)[..., None, None] / (n - 1)
    return _hollow(k - (total[..., :, None] + total[..., None, :] - mean) / (n - 2))


def _hollow(k: Tensor) -> Tensor:
    """Set the diagonals of matrices to zero."""
    return k.masked_fill(torch.eye(k.shape[-1], dtype=torch.bool, device=k.device), 0.0)


def _trace(k: Tensor) -> Tensor:
    return k.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


class HsicSums:
    """HSIC of all pairs of outputs, averaged over blocks of examples by their size, with what intervals and null need.

    Attributes:
        labels: (model, output) of each row and column, as in the first batch.
        total: HSIC of all pairs of outputs [outputs, outputs], times examples.
        pairs: the pairs of indices that get an interval and a null.
        null: HSIC of these pairs when the examples of the second are permuted [pairs], times examples.
        blocks: examples in each block.
        of_pairs: HSIC of the pairs in each block, [pairs] each.
        of_own: HSIC of each output with itself in each block, [outputs] each.
    """

    def __init__(
        self, estimator: Estimator, choose: Callable[[Sequence[Label]], list[tuple[int, int]]], *, seed: int
    ) -> None:
        self._estimator, self._choose = estimator, choose
        self._generator = torch.Generator().manual_seed(seed)
        self.labels: list[Label] = []
        self.pairs: list[tuple[int, int]] = []
        self.total = self.null = torch.zeros(0, dtype=torch.float64)
        self.blocks: list[int] = []
        self.of_pairs: list[Tensor] = []
        self.of_own: list[Tensor] = []

    def add(self, outputs: Mapping[Label, Grams]) -> None:
        """Add one batch of examples.

        Args:
            outputs: (model, output) -> its Gram matrices, the same keys in each batch; blocks of at least 4 examples.

        Raises:
            ValueError: if the outputs are not those of the first batch.
        """
        if not self.labels:
            self.labels = list(outputs)
            self.pairs = self._choose(self.labels)
            self.total = torch.zeros(len(outputs), len(outputs), dtype=torch.float64)
            self.null = torch.zeros(len(self.pairs), dtype=torch.float64)
        if list(outputs) != self.labels:
            raise ValueError("a model gave other outputs in a later batch: modules must be called alike in all batches")
        for products, levels in stacked(list(outputs.values())):
            n = products.shape[-1]
            for block in gram_vectors(products, levels, self._estimator).unbind(dim=1):
                self._add_block(block, n)

    def _add_block(self, vectors: Tensor, n: int) -> None:
        """Add one block of n examples: the vectors of all outputs [outputs, n (n + 1) / 2]."""
        factor = 1 / (n * (n - 3)) if self._estimator == "unbiased" else 1 / (n - 1) ** 2
        products = (vectors @ vectors.T).cpu() * factor
        self.total += n * products
        self.blocks.append(n)
        self.of_own.append(products.diagonal().clone())
        if self.pairs:
            first, second = [i for i, _ in self.pairs], [j for _, j in self.pairs]
            self.of_pairs.append(products[first, second])
            deranged = vectors[:, _deranged(n, self._generator).to(vectors.device)]
            self.null += n * (vectors @ deranged.T).cpu()[first, second] * factor


def _deranged(n: int, generator: torch.Generator) -> Tensor:
    """Where each entry of the triangle goes when the examples are permuted in one cycle, so that none stays."""
    order = torch.randperm(n, generator=generator)
    permuted = torch.empty(n, dtype=torch.int64)
    permuted[order] = order.roll(1)
    i, j = torch.triu_indices(n, n)
    place = torch.zeros(n, n, dtype=torch.int64)
    place[i, j] = torch.arange(len(i))
    return torch.maximum(place, place.T)[permuted[i], permuted[j]]
