"""What comes out of the modules inside a network?

Each output is copied or reduced inside the hook, before the next module runs: a later in-place ReLU overwrites the very
memory of the output it was given. A module that is called several times in one forward has several outputs: the first
carries the module's name, the k-th the name and `#k`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, forward, walk
from bequest.weights.algebra import Weights


@contextmanager
def watched(model: nn.Module, names: Sequence[str], receive: Callable[[str, Tensor], None]) -> Iterator[nn.Module]:
    """Hand over the output of each named module during every forward inside.

    Args:
        model: any network; the hooks are taken away on exit, also after an error.
        names: paths of submodules as in `named_modules`; "" is the whole network.
        receive: called with the name of the output (`relu`, on its second call `relu#2`) and the output itself
            [B, ...]. The memory is not its own: it must copy or reduce it before it returns.

    Yields:
        The model itself.

    Raises:
        KeyError: if a name is no module's; the nearest is named.
    """
    known = dict(model.named_modules())
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise KeyError(f"the model has no module {name!r}; the nearest is {near[0]!r}" if near else name)
    calls: dict[str, int] = {}
    handles = [model.register_forward_pre_hook(lambda *_: calls.clear())]

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hand_over(module: nn.Module, arguments: Any, outputs: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            receive(name if calls[name] == 1 else f"{name}#{calls[name]}", _tensor(name, outputs))

        return hand_over

    try:
        handles += [known[name].register_forward_hook(hook(name)) for name in dict.fromkeys(names)]
        yield model
    finally:
        for handle in handles:
            handle.remove()


def activations(
    model: nn.Module,
    names: Sequence[str],
    batches: Batches,
    *,
    weights: Weights | None = None,
    reduce: Callable[[Tensor], Tensor] = Tensor.clone,
) -> Iterator[dict[str, Tensor]]:
    """Give the outputs of named modules, a batch at a time, in evaluation mode.

    Args:
        model: any network; while the iterator is open it is in evaluation mode with `weights` in it.
        names: paths of submodules as in `named_modules`.
        batches: iterable of (inputs, targets) that can be walked again.
        weights: run with these in place of the model's own.
        reduce: what to keep of an output [B, ...]; applied inside the hook. It must not give a view of it.

    Yields:
        For each batch, the name of the output and what was kept, in order of execution.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        kept[name] = reduce(output)

    with applied(model, weights), watched(model, names, keep):
        for inputs, _ in walk(batches):
            kept.clear()
            with torch.no_grad():
                forward(model, inputs)
            yield dict(kept)


def _tensor(name: str, outputs: Any) -> Tensor:
    """Give the tensor that a module's output is about: itself, its logits, or the first one in it."""
    candidates: list[Any] = [outputs, getattr(outputs, "logits", None)]
    if isinstance(outputs, Mapping):
        candidates += outputs.values()
    elif isinstance(outputs, tuple | list):
        candidates += outputs
    for candidate in candidates:
        if isinstance(candidate, Tensor):
            return candidate.detach()
    raise ValueError(f"module {name!r} gives no tensor but {type(outputs).__name__}; leave it out")
