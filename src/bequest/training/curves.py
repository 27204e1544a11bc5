"""Which curve between two solutions has a low loss all along?

Source: Garipov et al. 2018, "Loss surfaces, mode connectivity, and fast ensembling". The ends stay fixed; the control
weights between them start on the straight line and are trained to minimise E L(phi(t)), t uniform on 0..1. Any
`nn.Module` will do: it runs through `torch.func.functional_call` with the point's parameters, in training mode, on
scratch copies of its buffers, so neither its parameters nor its running statistics change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bequest.evaluation.batches import Batches, Inputs, device_of, examples, walk
from bequest.evaluation.batchnorm import has_batchnorm
from bequest.evaluation.tasks import Task
from bequest.training.loop import Diverged
from bequest.training.seeds import fold, generator
from bequest.weights.algebra import Weights, check_alike, mixable
from bequest.weights.paths import PathKind, path_shares, straight_controls

WARMUP = 0.05  # share of the steps in which the learning rate rises
CLIP = 5.0  # largest norm of a step's gradient: on top of a barrier it can be a hundred times that of the ends


def train_curve(
    model: nn.Module,
    a: Weights,
    b: Weights,
    batches: Batches,
    *,
    kind: PathKind,
    bends: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    task: Task,
    momentum: float = 0.9,
) -> list[Weights]:
    """Train the control weights of a path.

    Args:
        model: the network; it is left as it was. Parameters that need no gradient stay on the straight line.
        a: weights at t = 0.
        b: weights at t = 1.
        batches: training data, (inputs, targets), shuffled: a batch should hold all classes.
        kind: `bezier` or `chain`.
        bends: control weights between the ends, at least 1.
        epochs: passes over the batches.
        learning_rate: peak of the cosine schedule of SGD.
        seed: of the places t, one a step and spread evenly over an epoch, and of dropout.
        task: its loss is minimised.
        momentum: of SGD.

    Returns:
        The controls: a, the trained ones, b. The ends are the very objects that were given.

    Raises:
        Diverged: if the loss is no longer a number.
        ValueError: if the ends do not fit the model or each other, or every batch holds a single class.
    """
    check_alike(a, b)
    controls = straight_controls(a, b, bends)
    live = _fitting(model, a)
    ends = [{name: torch.empty_like(live[name]).copy_(end[name]) for name in live} for end in (a, b)]
    thetas = [{name: torch.empty_like(live[name]).copy_(control[name]) for name in live} for control in controls[1:-1]]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad and mixable(parameter)]
    if not trained:
        raise ValueError("no parameter of the model needs a gradient, so no path can be trained; unfreeze some")
    _check_mixed(batches)
    least = 2 if has_batchnorm(model) else 1
    velocity = [{name: torch.zeros_like(theta[name]) for name in trained} for theta in thetas]
    scratch = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    places = generator(seed, "places")
    count = sum(examples(inputs) >= least for inputs, _ in walk(batches))
    step, steps = 0, epochs * count
    with _training(model, seed):
        for epoch in range(epochs):
            order = _spread(count, places)
            used = ((inputs, targets) for inputs, targets in walk(batches) if examples(inputs) >= least)
            for (inputs, targets), t in zip(used, order, strict=True):
                shares = path_shares(kind, bends + 2, t)
                point = _mix([ends[0], *thetas, ends[1]], shares)
                for name in trained:
                    point[name].requires_grad_(True)
                loss = _loss(model, point, scratch, inputs, targets, task)
                if not math.isfinite(value := float(loss.detach())):
                    raise Diverged(
                        f"the loss became {value} at t = {t:.2f} in epoch {epoch + 1} of the path; lower its "
                        "learning rate"
                    )
                gradients = torch.autograd.grad(loss, [point[name] for name in trained], allow_unused=True)
                rate = _rate(learning_rate, step, steps)
                _descend(thetas, velocity, trained, gradients, shares[1:-1], rate, momentum)
                step += 1
    return [a, *(_completed(model, control, theta) for control, theta in zip(controls[1:-1], thetas, strict=True)), b]


def _fitting(model: nn.Module, weights: Weights) -> dict[str, nn.Parameter]:
    """The model's parameters by name, after checking that the weights have them."""
    live = dict(model.named_parameters())
    for name, parameter in live.items():
        if name not in weights or weights[name].shape != parameter.shape:
            found = tuple(weights[name].shape) if name in weights else "missing"
            raise ValueError(
                f"the weights do not fit the model: {name} is {found} in the weights and {tuple(parameter.shape)} in it"
            )
    return live


def _check_mixed(batches: Batches) -> None:
    """Refuse data sorted by class: BatchNorm and every step would see one class at a time."""
    classes: set[Any] = set()
    for inputs, targets in walk(batches):
        if targets.is_floating_point() or targets.ndim != 1 or examples(inputs) < 4:
            return
        here = set(targets.tolist())
        classes |= here
        if len(here) > 1:
            return
    if len(classes) > 1:
        raise ValueError("every training batch holds a single class; shuffle the data before cutting it into batches")


@contextmanager
def _training(model: nn.Module, seed: int) -> Iterator[None]:
    """Training mode inside, with a random state of its own for dropout; flags and state are put back."""
    device = device_of(model)
    devices = [device] if device.type == "cuda" else []
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(fold(seed, "dropout"))
            model.train()
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def _spread(count: int, places: torch.Generator) -> list[float]:
    """One place t in each of `count` equal parts of 0..1, in random order."""
    jitter = torch.rand(count, generator=places, dtype=torch.float64)
    order = torch.randperm(count, generator=places)
    return ((torch.arange(count) + jitter) / count)[order].tolist()


@torch.no_grad()
def _mix(controls: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    names = list(controls[0])
    total = torch._foreach_mul([controls[0][name].detach() for name in names], shares[0])
    for control, share in zip(controls[1:], shares[1:], strict=True):
        if share:
            torch._foreach_add_(total, [control[name].detach() for name in names], alpha=share)
    return dict(zip(names, total, strict=True))


def _loss(
    model: nn.Module,
    point: dict[str, Tensor],
    scratch: dict[str, Tensor],
    inputs: Inputs,
    targets: Tensor,
    task: Task,
) -> Tensor:
    device = device_of(model)
    if isinstance(inputs, Mapping):
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in inputs.items()}
        outputs = functional_call(model, {**point, **scratch}, (), moved)
    else:
        outputs = functional_call(model, {**point, **scratch}, (inputs.to(device),))
    return task.loss(outputs, targets.to(device))


@torch.no_grad()
def _descend(
    thetas: Sequence[dict[str, Tensor]],
    velocity: Sequence[dict[str, Tensor]],
    trained: Sequence[str],
    gradients: Sequence[Tensor | None],
    shares: Sequence[float],
    rate: float,
    momentum: float,
) -> None:
    """One step of SGD on every control: its gradient is the point's, times its share at t."""
    used = [(name, gradient) for name, gradient in zip(trained, gradients, strict=True) if gradient is not None]
    norm = float(torch.stack(torch._foreach_norm([gradient for _, gradient in used])).norm())
    scale = min(1.0, CLIP / norm) if norm > 0 else 1.0
    names, values = [name for name, _ in used], [gradient for _, gradient in used]
    for theta, speed, share in zip(thetas, velocity, shares, strict=True):
        speeds = [speed[name] for name in names]
        torch._foreach_mul_(speeds, momentum)
        torch._foreach_add_(speeds, values, alpha=share * scale)
        torch._foreach_add_([theta[name] for name in names], speeds, alpha=-rate)


def _rate(peak: float, step: int, steps: int) -> float:
    warmup = round(WARMUP * steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _completed(model: nn.Module, control: Weights, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained parameters on the control's device and in its dtype, with its buffers; tied names too."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    done = {name: tensor.clone() for name, tensor in control.items()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in names:
            done[name] = theta[names[id(tensor)]].detach().to(control[name]).contiguous()
    return done
