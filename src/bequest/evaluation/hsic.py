"""How much do two sets of features of the same examples have in common?

Source: Song et al. 2007 (HSIC_1); Kornblith et al. 2019 (linear CKA); Nguyen et al. 2021 (average over batches first,
then the ratio); Szekely and Rizzo 2014 (U-centring).

Features become one vector: the centred Gram matrix's upper triangle. Inner products of such vectors are HSIC, so that
all pairs of many outputs are one matrix product. U-centring makes that inner product HSIC_1, the estimate whose mean is
zero for unrelated features. Features are centred before their product, which cancels in float32 otherwise; everything
after it runs in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

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
    if estimator not in ("unbiased", "biased"):
        raise ValueError(f"there is no estimator {estimator!r}; known: unbiased, biased")
    if features.ndim == 4 and features.is_contiguous(memory_format=torch.channels_last):
        features = features.permute(0, 2, 3, 1)  # flattens without a copy; the order of features does not matter
    rows = features.flatten(1) if features.ndim > 1 else features[:, None]
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    mean = rows.mean(dim=0, keepdim=True)
    rows = rows - mean
    gram = rows @ rows.T
    if gram.device.type == "mps":
        gram, mean = gram.cpu(), mean.cpu()  # it has no float64
    gram = gram.double()
    n = len(gram)
    variation, level = gram.trace(), n * mean.double().square().sum()
    i, j = torch.triu_indices(n, n, device=gram.device)
    vector = _centred(gram, estimator)[i, j]
    vector[i != j] *= math.sqrt(2)
    return torch.where(variation <= ROUNDING * (variation + level), torch.zeros_like(vector), vector)


def _centred(gram: Tensor, estimator: Estimator) -> Tensor:
    """Centre a Gram matrix [n, n] in float64: by means, or U-centred with a zero diagonal."""
    k, n = gram.double(), len(gram)
    if estimator == "biased":
        mean = k.mean(dim=1)
        return k - mean[:, None] - mean + mean.mean()
    k = k - torch.diag(k.diagonal())
    total = k.sum(dim=1)
    k = k - (total[:, None] + total) / (n - 2) + total.sum() / ((n - 1) * (n - 2))
    return k - torch.diag(k.diagonal())


class HsicSums:
    """HSIC of all pairs of outputs, averaged over batches by their size, with what intervals and null need.

    Attributes:
        labels: (model, output) of each row and column, as in the first batch.
        total: HSIC of all pairs of outputs [outputs, outputs], times examples.
        pairs: the pairs of indices that get an interval and a null.
        null: HSIC of these pairs when the examples of the second are permuted [pairs], times examples.
        batches: examples in each batch.
        of_pairs: HSIC of the pairs in each batch, [pairs] each.
        of_own: HSIC of each output with itself in each batch, [outputs] each.
    """

    def __init__(
        self, estimator: Estimator, choose: Callable[[Sequence[Label]], list[tuple[int, int]]], *, seed: int
    ) -> None:
        self._estimator, self._choose = estimator, choose
        self._generator = torch.Generator().manual_seed(seed)
        self.labels: list[Label] = []
        self.pairs: list[tuple[int, int]] = []
        self.total = self.null = torch.zeros(0, dtype=torch.float64)
        self.batches: list[int] = []
        self.of_pairs: list[Tensor] = []
        self.of_own: list[Tensor] = []

    def add(self, vectors: Mapping[Label, Tensor], n: int) -> None:
        """Add one batch: the `gram_vector` of each output, and the number of examples.

        Args:
            vectors: (model, output) -> vector, the same keys in each batch.
            n: examples in the batch, at least 4.

        Raises:
            ValueError: if the outputs are not those of the first batch.
        """
        if not self.labels:
            self.labels = list(vectors)
            self.pairs = self._choose(self.labels)
            self.total = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
            self.null = torch.zeros(len(self.pairs), dtype=torch.float64)
        if list(vectors) != self.labels:
            raise ValueError("a model gave other outputs in a later batch: modules must be called alike in all batches")
        device = next(iter(vectors.values())).device
        stacked = torch.stack([vector.to(device) for vector in vectors.values()])
        factor = 1 / (n * (n - 3)) if self._estimator == "unbiased" else 1 / (n - 1) ** 2
        products = (stacked @ stacked.T).cpu() * factor
        self.total += n * products
        self.batches.append(n)
        self.of_own.append(products.diagonal().clone())
        if self.pairs:
            first, second = [i for i, _ in self.pairs], [j for _, j in self.pairs]
            self.of_pairs.append(products[first, second])
            deranged = stacked[:, _deranged(n, self._generator).to(device)]
            null = torch.stack([stacked[i] @ deranged[j] for i, j in self.pairs])
            self.null += n * null.cpu() * factor


def _deranged(n: int, generator: torch.Generator) -> Tensor:
    """Where each entry of the triangle goes when the examples are permuted in one cycle, so that none stays."""
    order = torch.randperm(n, generator=generator)
    permuted = torch.empty(n, dtype=torch.int64)
    permuted[order] = order.roll(1)
    i, j = torch.triu_indices(n, n)
    place = torch.zeros(n, n, dtype=torch.int64)
    place[i, j] = torch.arange(len(i))
    return torch.maximum(place, place.T)[permuted[i], permuted[j]]
