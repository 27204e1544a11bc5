"""What else may a training start from, to tell features from low-level statistics?

The starts of the control arms. `meanvar` (Raghu et al. 2019, arXiv:1902.07208) keeps two numbers a tensor, `shuffled`
its whole histogram; neither keeps a feature. `transfusion` (same paper) takes some modules from P and the rest fresh.
What a control arm gains over random init, pre-training gave through the scale of the weights; what fine-tuning gains
over the control arms, through features.

A tensor without variance (a BatchNorm weight of 1, a scalar) is its own mean and comes out as it is. BatchNorm's
running statistics describe the activations of P's features, which are gone: they are reset unless the caller wants
them copied. Counters and masks are kept. The outcome depends on names and generator, not on the order of the mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Literal

import torch
from torch import Tensor

from bequest.weights.algebra import Weights, mixable

Statistics = Literal["reset", "copy"]
FRESH = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}  # as BatchNorm starts


def meanvar(
    pretrained: Weights, *, generator: torch.Generator, keep: Iterable[str] = (), statistics: Statistics = "reset"
) -> dict[str, Tensor]:
    """Draw each tensor from a normal distribution with the mean and the variance of its entries.

    Args:
        pretrained: P.
        generator: gives the random numbers.
        keep: names of tensors, or paths above them, to copy from `pretrained`: a fresh head (`fc`).
        statistics: what becomes of BatchNorm's running statistics, "reset" as in a fresh network or "copy".

    Returns:
        New weights of the same names, shapes, dtypes and devices.

    Raises:
        ValueError: if something to keep does not exist, or `statistics` is neither word.
    """

    def draw(tensor: Tensor) -> Tensor:
        wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
        mean = wide.mean()
        deviation = (wide - mean).abs().square().mean().sqrt()
        kind = torch.promote_types(tensor.dtype, torch.float32)
        noise = torch.randn(tensor.shape, generator=generator, dtype=kind, device=generator.device)
        return (noise.to(tensor.device) * deviation + mean).to(tensor.dtype)

    return _each(pretrained, draw, keep, statistics)


def shuffled(
    pretrained: Weights, *, generator: torch.Generator, keep: Iterable[str] = (), statistics: Statistics = "reset"
) -> dict[str, Tensor]:
    """Permute the entries inside each tensor.

    Args:
        pretrained: P.
        generator: gives the permutations.
        keep: names of tensors, or paths above them, to copy from `pretrained`: a fresh head (`fc`).
        statistics: what becomes of BatchNorm's running statistics, "reset" as in a fresh network or "copy".

    Returns:
        New weights of the same names, shapes, dtypes and devices.

    Raises:
        ValueError: if something to keep does not exist, or `statistics` is neither word.
    """

    def permute(tensor: Tensor) -> Tensor:
        order = torch.randperm(tensor.numel(), generator=generator, device=generator.device)
        return tensor.flatten()[order.to(tensor.device)].view(tensor.shape)

    return _each(pretrained, permute, keep, statistics)


def transfusion(pretrained: Weights, fresh: Weights, names: Iterable[str]) -> dict[str, Tensor]:
    """Take some tensors from P and the rest from a fresh network.

    Args:
        pretrained: P.
        fresh: weights that the rest comes from; decides which tensors there are.
        names: names of tensors, or paths above them, to take from P. The parameters and buffers of the first modules
            make the prefix of the paper.

    Returns:
        New weights with the names of `fresh`.

    Raises:
        ValueError: if a named tensor is missing on one side or differs in shape.
    """
    taken = _under(fresh, names)
    for name in taken:
        if name not in pretrained:
            raise ValueError(f"{name} is not in the pre-trained weights; take only modules that both networks have")
        if pretrained[name].shape != fresh[name].shape:
            raise ValueError(
                f"{name} is {tuple(pretrained[name].shape)} in the pre-trained weights and "
                f"{tuple(fresh[name].shape)} in the fresh ones; leave it out"
            )
    return {
        name: pretrained[name].detach().to(own, copy=True) if name in taken else own.detach().clone()
        for name, own in fresh.items()
    }


def _each(
    weights: Weights, change: Callable[[Tensor], Tensor], keep: Iterable[str], statistics: Statistics
) -> dict[str, Tensor]:
    """Change every floating-point tensor that has variance; tied tensors change once, together."""
    if statistics not in ("reset", "copy"):
        raise ValueError(f"running statistics can be 'reset' or 'copy', not {statistics!r}")
    kept = _under(weights, keep)
    changed: dict[str, Tensor] = {}
    done: dict[object, Tensor] = {}
    for name in sorted(weights):
        tensor, last = weights[name].detach(), name.rpartition(".")[2]
        if name in kept or (last in FRESH and statistics == "copy"):
            changed[name] = tensor.clone()
        elif last in FRESH:
            changed[name] = torch.full_like(tensor, FRESH[last])
        elif not mixable(tensor) or bool((tensor == tensor.flatten()[:1]).all()):
            changed[name] = tensor.clone()
        else:
            place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
            if place not in done:
                done[place] = change(tensor)
            changed[name] = done[place]
    return {name: changed[name] for name in weights}


def _under(weights: Weights, paths: Iterable[str]) -> set[str]:
    """Names of the tensors that are named or lie under one of the paths."""
    found: set[str] = set()
    for path in [paths] if isinstance(paths, str) else paths:
        here = {name for name in weights if name == path or name.startswith(f"{path}.")}
        if not here:
            known = {name.rpartition(".")[0] for name in weights} | set(weights)
            near = get_close_matches(path, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no tensor {path!r} and none under that path{hint}")
        found |= here
    return found
