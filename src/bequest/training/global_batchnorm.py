"""How does BatchNorm see the whole batch where each process has a part of it?

Mean and variance are those of all parts together (Chan et al. 1979, updating formulae for the variance), and so are the
two sums of the backward pass (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3). Every call of
`torch.nn.functional.batch_norm` in training mode is caught, whichever module makes it, so the model stays as it is.
The passes over the activations are torch's own kernels, of the CPU and of GPUs alike; between processes go two numbers
a channel, once forwards and once backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Gather = Callable[[Tensor], Tensor]  # [k] of each process -> [processes, k]


class GlobalBatchNorm(TorchFunctionMode):
    """Inside of this context BatchNorm takes its statistics over all processes.

    Args:
        every: gives the tensors of all processes, of one shape, one below the other.
    """

    def __init__(self, every: Gather) -> None:
        super().__init__()
        self._every = every

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what was called, BatchNorm in training mode differently."""
        given = kwargs or {}
        return _normalised(self._every, *args, **given) if func is functional.batch_norm else func(*args, **given)


def _normalised(
    every: Gather,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """The signature is that of `torch.nn.functional.batch_norm`, and so is what it does outside of training mode."""
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    count, mean, variance = _statistics(input.detach(), every)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            unbiased = variance * (count / (count - 1)).to(variance.dtype)
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    normal: Tensor = _Normalise.apply(input, weight, bias, mean, variance, count, eps, every)  # type: ignore[no-untyped-call] # torch's stub
    return normal


def _statistics(input: Tensor, every: Gather) -> tuple[Tensor, Tensor, Tensor]:
    """Values a channel [], their mean and biased variance [C], over all processes."""
    over = [axis for axis in range(input.ndim) if axis != 1]
    variance, mean = torch.var_mean(input.to(torch.promote_types(input.dtype, torch.float32)), over, correction=0)
    count = mean.new_tensor([input.numel() / input.shape[1]])
    found = every(torch.cat([count, mean, variance])).double()
    counts, (means, variances) = found[:, :1], found[:, 1:].chunk(2, 1)
    total = counts.sum()
    whole = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - whole).square())).sum(0) / total
    return total, whole.to(mean.dtype), spread.to(mean.dtype)


class _Normalise(torch.autograd.Function):
    """Normalise with given statistics, which depend on all inputs of all processes."""

    @staticmethod
    def forward(
        context: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        every: Gather,
    ) -> Tensor:
        context.save_for_backward(input, weight, mean, variance)
        context.count, context.eps, context.every = count, eps, every
        return torch.batch_norm(input, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance = context.saved_tensors
        # as of fixed statistics; the sums over this process' values are the gradients of weight and bias
        own, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, mean, variance, None, None, False, context.eps, [True, True, True]
        )
        sums = context.every(torch.cat([of_weight, of_bias])).double().sum(0)
        scaled, shifted = (sums / context.count).to(mean.dtype).chunk(2)
        # what each value does to the statistics: -(shifted + normalised value * scaled) * weight / deviation
        deviation = (variance + context.eps).sqrt()
        shape = [1, -1, *[1] * (input.ndim - 2)]
        away = input - mean.view(shape)
        away.mul_((-scaled * weight / deviation.square()).view(shape)).sub_((shifted * weight / deviation).view(shape))
        return own.add_(away), of_weight, of_bias, None, None, None, None, None
