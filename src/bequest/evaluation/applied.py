"""How does a model run with other weights and come back as it was?

Weights are written into the model's own tensors, in place, in evaluation mode, and everything is put back on exit:
parameters, buffers (counters too), each module's training flag; also after an error. Inside, nothing is allocated per
point of a line: one pass over the parameters writes the mix straight into the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bequest.weights.algebra import Weights, mixable


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put the model into evaluation mode, and give each module its own flag back on exit."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield model
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def preserved(model: nn.Module) -> Iterator[nn.Module]:
    """Let the model's tensors be changed inside, in evaluation mode; put tensors and flags back on exit.

    Args:
        model: any network; parameters and buffers of any device and dtype.

    Yields:
        The model itself.
    """
    owners = [
        (module._buffers, name, tensor)
        for module in model.modules()
        for name, tensor in module._buffers.items()
        if tensor is not None
    ]
    live = [parameter.detach() for parameter in model.parameters()] + [tensor for _, _, tensor in owners]
    kept = [tensor.detach().clone() for tensor in live]
    with evaluating(model):
        try:
            yield model
        finally:
            for buffers, name, tensor in owners:
                buffers[name] = tensor  # a forward may have replaced the object and not its content
            _copy(live, kept)


@contextmanager
def applied(model: nn.Module, weights: Weights | None = None) -> Iterator[nn.Module]:
    """Run a model with given weights: evaluation mode, everything restored on exit.

    Args:
        model: any network.
        weights: as `state_dict` gives them; None runs the model's own, and only the training flags change.

    Yields:
        The model itself, with the weights in it.

    Raises:
        ValueError: if tensors are missing, too many, or of another shape.
    """
    if weights is None:
        with evaluating(model):
            yield model
        return
    _, live, values = _matched(model, weights)
    with preserved(model):
        _copy(live, values)
        yield model


def put(model: nn.Module, weights: Weights) -> None:
    """Write weights into the model for good; for use inside `preserved`.

    Args:
        model: any network.
        weights: as `state_dict` gives them.

    Raises:
        ValueError: if tensors are missing, too many, or of another shape.
    """
    _, live, values = _matched(model, weights)
    _copy(live, values)


def taken(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights that are in the model now, as `state_dict` names them."""
    return {name: tensor.clone() for name, tensor in _state(model).items()}


@contextmanager
def line(model: nn.Module, a: Weights, b: Weights) -> Iterator[Callable[[float], None]]:
    """Move a model along the straight line between two sets of weights.

    Args:
        model: any network; it is in evaluation mode inside and restored on exit.
        a: weights at t = 0; counters come from here.
        b: weights at t = 1.

    Yields:
        A function that puts the point (1 - t) a + t b into the model; t = 0 and t = 1 give the ends bit for bit. All
        floating tensors are mixed: frozen parameters and running statistics too.

    Raises:
        ValueError: if the weights do not fit the model.
    """
    _, live, first = _matched(model, a)
    _, _, second = _matched(model, b)
    fixed = [(tensor, value) for tensor, value in zip(live, first, strict=True) if not mixable(tensor)]
    mixed = [
        (tensor, _beside(tensor, start), _beside(tensor, end))
        for tensor, start, end in zip(live, first, second, strict=True)
        if mixable(tensor)
    ]
    narrow = [parts for parts in mixed if parts[0].dtype != parts[1].dtype]
    wide = [parts for parts in mixed if parts[0].dtype == parts[1].dtype]
    foreach = bool(wide) and wide[0][0].device.type != "cpu"  # on the CPU it is a loop of two passes instead of one

    @torch.no_grad()
    def go(t: float) -> None:
        if foreach:
            targets, starts, ends = (list(column) for column in zip(*wide, strict=True))
            torch._foreach_copy_(targets, starts)
            torch._foreach_lerp_(targets, ends, t)
        else:
            for tensor, start, end in wide:
                torch.lerp(start, end, t, out=tensor)
        for tensor, start, end in narrow:
            tensor.copy_(torch.lerp(start, end, t))

    with preserved(model):
        for tensor, value in fixed:
            tensor.copy_(value)
        yield go


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Give the model's own tensors by their names in `state_dict`."""
    return {
        name: tensor.detach()
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)  # a module may keep further state that is no tensor
    }


def _matched(model: nn.Module, weights: Weights) -> tuple[list[str], list[Tensor], list[Tensor]]:
    """Give names, the model's own tensors and the values for them, in one order, after checking that they fit."""
    state = _state(model)
    missing = [name for name in state if name not in weights]
    further = [name for name, value in weights.items() if name not in state and isinstance(value, Tensor)]
    if missing or further:
        raise ValueError(
            f"the weights do not fit the model: {len(missing)} tensors are missing ({_few(missing)}), "
            f"{len(further)} are not in the model ({_few(further)})"
        )
    for name, tensor in state.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(
                f"the weights do not fit the model: {name} is {tuple(weights[name].shape)} in the weights and "
                f"{tuple(tensor.shape)} in the model"
            )
    return list(state), list(state.values()), [weights[name].detach() for name in state]


def _copy(targets: list[Tensor], values: list[Tensor]) -> None:
    """Copy in place, all at once where device and dtype agree."""
    alike: list[tuple[Tensor, Tensor]] = []
    other: list[tuple[Tensor, Tensor]] = []
    for pair in zip(targets, values, strict=True):
        (alike if pair[0].device == pair[1].device and pair[0].dtype == pair[1].dtype else other).append(pair)
    with torch.no_grad():
        if alike:
            torch._foreach_copy_([target for target, _ in alike], [value for _, value in alike])
        for target, value in other:
            target.copy_(value)


def _beside(tensor: Tensor, value: Tensor) -> Tensor:
    """Bring an end of a line to the model's device and layout, at least float32, in storage of its own."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    own = value.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()  # else the line would move its end
    if own and value.device == tensor.device and value.dtype == wide and value.stride() == tensor.stride():
        return value
    return torch.empty_like(tensor, dtype=wide).copy_(value)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
