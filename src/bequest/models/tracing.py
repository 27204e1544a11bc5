"""What does a network do to its channels?

The network runs once on an example, and every torch operation is followed: which axes does it read together, add,
flatten? What comes out is an axis label for every axis of every parameter and buffer. An operation that is not known
to treat channels alike is refused by name, unless everything that goes in is fixed anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bequest.models.channels import Axis, ChannelGroups, fixed, reshaped
from bequest.models.watching import left_alone

Axes = tuple[Axis, ...]

# Each entry of the result is a function of the entries at the same place (after broadcasting), the same for all.
_POINTWISE = frozenset(
    "add sub rsub mul div true_divide truediv maximum minimum pow lerp addcmul addcdiv neg abs exp log sqrt rsqrt "
    "square sign clamp clamp_min relu relu6 leaky_relu elu selu celu gelu silu sigmoid logsigmoid tanh hardswish "
    "hardsigmoid hardtanh mish softplus softsign threshold dropout dropout1d dropout2d dropout3d alpha_dropout "
    "feature_dropout clone detach contiguous to float double half bfloat16 type_as requires_grad".split()
)
# Each channel of [B, C, ...] is treated alike and apart; what happens along further axes does not matter.
_PER_CHANNEL = frozenset(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d lp_pool1d lp_pool2d interpolate "
    "upsample".split()
)
_RESHAPES = frozenset("flatten view reshape unflatten squeeze unsqueeze view_as reshape_as".split())
_REDUCTIONS = frozenset("mean sum amax amin prod logsumexp var std norm".split())
_ALONG = frozenset("softmax log_softmax normalize".split())  # over an axis, whatever its order


def axes_of(model: nn.Module, example: Tensor | Mapping[str, Tensor]) -> dict[str, Axes]:
    """Find which axes of a network's tensors are reordered together.

    Args:
        model: any network; weights, buffers, modes, hooks and the global random state stay as they were.
        example: inputs for one forward pass, on the model's device.

    Returns:
        Name in `state_dict` -> the axes of the tensor, in terms of free groups. Tensors that were not used are left
        out; tied tensors are there under all their names.

    Raises:
        ValueError: names the module and the operation whose effect on channels is not known.
    """
    tensors = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    trace = _Trace(type(model).__name__, tensors)
    with left_alone(model):
        handles = [handle for name, module in model.named_modules() for handle in trace.hooks(name, module)]
        try:
            with torch.no_grad(), trace:
                output = model(**example) if isinstance(example, Mapping) else model(example)
        finally:
            for handle in handles:
                handle.remove()
    trace.fix_outputs(output)
    return {
        name: tuple(trace.groups.resolve(axis) for axis in trace.known[id(tensor)][1])
        for name, tensor in tensors.items()
        if id(tensor) in trace.known
    }


class _Trace(TorchFunctionMode):
    """Follows the axes of all tensors that come from parameters."""

    def __init__(self, title: str, tensors: Mapping[str, Tensor]) -> None:
        self.groups = ChannelGroups()
        self.known: dict[int, tuple[Tensor, Axes]] = {}  # keeps the tensors, so that no id is used twice
        self._owned = {id(tensor) for tensor in tensors.values()}
        self._inside = [title]

    def hooks(self, name: str, module: nn.Module) -> Iterator[Any]:
        """Note which module is running, for the message of a refusal."""
        if name:
            yield module.register_forward_pre_hook(lambda *_: self._inside.append(f"{name} ({type(module).__name__})"))
            yield module.register_forward_hook(lambda *_: self._inside.pop() and None)

    def fix_outputs(self, outputs: Any) -> None:
        """The outputs of a network have an order of their own: classes."""
        plain = isinstance(outputs, Tensor | Mapping | list | tuple)
        found = list(_tensors(outputs if plain else vars(outputs)))
        if not any(id(tensor) in self.known for tensor in found):
            raise ValueError(f"{self._inside[0]}: its outputs could not be followed back to its parameters")
        for tensor in found:
            for axis in self._axes(tensor):
                self.groups.join(axis, fixed(_length(axis)))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        shapes = [tuple(tensor.shape) for tensor in given]
        result = func(*args, **kwargs)
        results = list(_tensors(result))
        if not results or not any(id(tensor) in self.known or id(tensor) in self._owned for tensor in given):
            return result
        name = getattr(func, "__name__", "").strip("_")
        name = name[1:] if name[1:] in _POINTWISE and name[0] in "ir" else name  # __iadd__, __rmul__
        try:
            axes = self._follow(name, args, kwargs, given, shapes, results)
        except ValueError as error:
            raise ValueError(
                f"cannot find the permutations of {self._inside[0]}: in {self._inside[-1]}, {error}"
            ) from None
        for tensor, own in zip(results, axes, strict=True):
            lengths = zip(tensor.shape, own, strict=True)  # pixels change their number; channels that are free do not
            self.known[id(tensor)] = (
                tensor,
                tuple(fixed(n) if self.groups.is_fixed(one) else one for n, one in lengths),
            )
        return result

    def _axes(self, tensor: Tensor) -> Axes:
        """Give the axes of a tensor: followed so far, new for a parameter, fixed for a constant or the input."""
        if id(tensor) not in self.known:
            own = id(tensor) in self._owned
            axes = tuple(self.groups.new(size) if own else fixed(size) for size in tensor.shape)
            if not own:
                return axes
            self.known[id(tensor)] = (tensor, axes)
        return tuple(self.groups.resolve(axis) for axis in self.known[id(tensor)][1])

    def _follow(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        given: list[Tensor],
        shapes: list[tuple[int, ...]],
        results: list[Tensor],
    ) -> list[Axes]:
        """Join what the operation reads together and give the axes of its results."""
        shape = tuple(results[0].shape)
        first = next((value for value in (*args[:1], kwargs.get("input")) if isinstance(value, Tensor)), given[0])
        x = self._axes(first)
        rule: Callable[..., Axes] | None = _LAYERS.get(name)
        if len(results) > 1 or "out" in kwargs:
            rule = None
        elif rule is not None:
            return [rule(self, x, args, kwargs)]
        elif name in _POINTWISE:
            return [self._broadcast(given, shapes, shape)]
        elif name in _PER_CHANNEL:
            if all(self.groups.is_fixed(axis) for axis in x[2:]):
                return [(*x[:2], *(fixed(size) for size in shape[2:]))]
        elif name in _RESHAPES:
            return [reshaped(x, shapes[0], shape)]
        elif name in _REDUCTIONS:
            return [_reduced(x, args, kwargs, shape)]
        elif name in _ALONG:
            return [x]
        elif name in ("permute", "transpose", "movedim", "t", "swapaxes"):
            marks = torch.empty(list(range(len(x))), device="meta")  # axis k has length k
            order = getattr(torch.Tensor, name)(marks, *args[1:], **kwargs).shape
            return [tuple(x[axis] for axis in order)]
        elif name == "cat":
            return [self._concatenated(given, args, kwargs)]
        if all(
            self.groups.is_fixed(axis)
            for tensor in given
            if id(tensor) not in self._owned
            for axis in self._axes(tensor)
        ):
            for tensor in given:  # whatever it does, it does it before there are channels
                for axis in self._axes(tensor):
                    self.groups.join(axis, fixed(_length(axis)))
            return [tuple(fixed(size) for size in tensor.shape) for tensor in results]
        raise ValueError(f"the operation {name!r} is not known to leave reordered channels intact")

    def _broadcast(self, given: list[Tensor], shapes: list[tuple[int, ...]], shape: tuple[int, ...]) -> Axes:
        found: list[Axis | None] = [None] * len(shape)
        for tensor in given:
            offset = len(shape) - tensor.dim()
            for index, axis in enumerate(self._axes(tensor), start=offset):
                if tensor.shape[index - offset] == 1:
                    continue
                before = found[index]
                if before is not None:
                    self.groups.join(before, axis)
                found[index] = axis
        return tuple(self.groups.resolve(axis) if axis is not None else fixed(1) for axis in found)

    def _concatenated(self, given: list[Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        along = int(kwargs.get("dim", args[1] if len(args) > 1 else 0)) % given[0].dim()
        first = self._axes(given[0])
        for other in (self._axes(tensor) for tensor in given[1:]):
            for index, (mine, theirs) in enumerate(zip(first, other, strict=True)):
                if index != along:
                    self.groups.join(mine, theirs)
        joined: Axis = tuple(segment for tensor in given for segment in self._axes(tensor)[along])
        return tuple(self.groups.resolve(joined if index == along else axis) for index, axis in enumerate(first))

    def linear(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow torch.nn.functional.linear."""
        _, weight, bias = _named(args, kwargs, "input weight bias")
        gives, reads = self._axes(weight)
        self.groups.join(x[-1], reads)
        self._beside(bias, gives)
        return (*x[:-1], gives)

    def convolution(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow conv1d, conv2d and conv3d."""
        _, weight, bias, *_, groups = _named(args, kwargs, "input weight bias stride padding dilation groups")
        return self._convolved(x, self._axes(weight), 0, bias, groups)

    def transposed(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow conv_transpose1d, 2d and 3d, whose weights have the inputs on axis 0."""
        _, weight, bias, *_, groups = _named(args, kwargs, "input weight bias stride padding output_padding groups")
        return self._convolved(x, self._axes(weight), 1, bias, groups)

    def _convolved(self, x: Axes, weight: Axes, gives: int, bias: Tensor | None, groups: int | None) -> Axes:
        if groups not in (None, 1):
            raise ValueError(
                f"a convolution of {groups} groups (depthwise, if that is its number of channels) ties each output to "
                "a part of the inputs, which is not supported"
            )
        if len(x) != len(weight) or not all(self.groups.is_fixed(axis) for axis in x[2:]):
            raise ValueError("the convolution reads inputs without a batch axis, or with channels in place of pixels")
        self.groups.join(x[1], weight[1 - gives])
        for axis in weight[2:]:
            self.groups.join(axis, fixed(_length(axis)))
        self._beside(bias, weight[gives])
        return (x[0], self.groups.resolve(weight[gives]), *x[2:])

    def batch_norm(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow batch_norm, and instance_norm, which has the same arguments."""
        _, *vectors = _named(args, kwargs, "input running_mean running_var weight bias")
        for vector in vectors:
            self._beside(vector, x[1])
        return x

    def layer_norm(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow layer_norm: what it averages over may be reordered."""
        _, _, weight, bias = _named(args, kwargs, "input normalized_shape weight bias")
        for vector in (weight, bias):
            if vector is not None:
                for mine, theirs in zip(self._axes(vector), x[-vector.dim() :], strict=True):
                    self.groups.join(mine, theirs)
        return x

    def group_norm(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow group_norm with one group of all channels, or one for each."""
        _, groups, weight, bias = _named(args, kwargs, "input num_groups weight bias")
        if groups not in (1, _length(x[1])):
            raise ValueError(
                f"GroupNorm normalises {groups} groups of channels: reordering them would need to keep the groups "
                "together, which is not supported"
            )
        self._beside(weight, x[1])
        self._beside(bias, x[1])
        return x

    def prelu(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow prelu with one slope, or one for each channel."""
        _, weight = _named(args, kwargs, "input weight")
        if weight.numel() > 1:
            self._beside(weight, x[1])
        return x

    def padded(self, x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Axes:
        """Follow pad: zeros beside pixels, not beside channels."""
        _, widths = _named(args, kwargs, "input pad")
        if not all(self.groups.is_fixed(axis) for axis in x[len(x) - len(widths) // 2 :]):
            raise ValueError("padding adds channels, which have no weights of their own to be matched by")
        return x

    def _beside(self, vector: Tensor | None, axis: Axis) -> None:
        if vector is not None:
            self.groups.join(self._axes(vector)[0], axis)


_LAYERS: dict[str, Callable[[_Trace, Axes, Sequence[Any], Mapping[str, Any]], Axes]] = {
    "linear": _Trace.linear,
    **{f"conv{n}d": _Trace.convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _Trace.transposed for n in (1, 2, 3)},
    "batch_norm": _Trace.batch_norm,
    "instance_norm": _Trace.batch_norm,
    "layer_norm": _Trace.layer_norm,
    "group_norm": _Trace.group_norm,
    "prelu": _Trace.prelu,
    "pad": _Trace.padded,
}


def _length(axis: Axis) -> int:
    return sum(segment.span for segment in axis)


def _named(args: Sequence[Any], kwargs: Mapping[str, Any], names: str) -> list[Any]:
    """Give the first arguments of a call, however they were passed; None for those left out."""
    return [args[index] if index < len(args) else kwargs.get(name) for index, name in enumerate(names.split())]


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _reduced(x: Axes, args: Sequence[Any], kwargs: Mapping[str, Any], shape: tuple[int, ...]) -> Axes:
    """Give the axes that a mean or sum leaves: what it runs over may be reordered."""
    dims = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else None))
    if dims is None or isinstance(dims, bool):
        dims = range(len(x))
    gone = {dim % len(x) for dim in ([dims] if isinstance(dims, int) else dims)}
    if len(shape) == len(x):
        return tuple(fixed(1) if index in gone else axis for index, axis in enumerate(x))
    if len(shape) != len(x) - len(gone):
        raise ValueError("a reduction over axes that could not be told")
    return tuple(axis for index, axis in enumerate(x) if index not in gone)
