"""What does a model see in each example, just before its head?

The features are what the head is given, the outputs what it makes of them; both come from one forward pass, in
evaluation mode, and are kept in float64. Features with places (an image's after the last convolution, [B, D, H, W])
are averaged over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bequest.evaluation.applied import applied
from bequest.evaluation.batches import Batches, examples, forward, logits, walk
from bequest.models.head import head_name
from bequest.weights.algebra import Weights


@dataclass(frozen=True)
class Features:
    """What a model sees in N examples.

    Attributes:
        features: float64 [N, D], on the CPU.
        outputs: float64 [N, Z], the logits of the model's own head; Z are the classes that it was made for.
        targets: [N] class numbers, or [N, C] labels.
    """

    features: Tensor
    outputs: Tensor
    targets: Tensor


def features(
    model: nn.Module,
    batches: Batches,
    *,
    weights: Weights | None = None,
    at: str | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> Features:
    """Collect what a model's head is given.

    Args:
        model: any network; it is left as it was.
        batches: iterable of (inputs, targets) that can be walked again.
        weights: run with these in place of the model's own.
        at: path of the module whose input is taken; None: the head.
        reduce: makes [B, D] of that input; None: as it is, or averaged over the places of [B, D, H, W].

    Returns:
        Features, outputs and targets, in the order of the batches.

    Raises:
        KeyError: if there is no module `at`.
        ValueError: if the model has no head, the input is not [B, D] after `reduce`, or a number in it is not finite.
    """
    name = head_name(model) if at is None else at
    if name not in dict(model.named_modules()):
        raise KeyError(f"the model has no module {name!r}; `at` is a path as in named_modules, such as 'fc'")
    given: list[Tensor] = []

    def look(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen = arguments[0] if arguments else next(iter(named.values()))
        given.append(_flat(name, reduce(seen) if reduce else seen))

    found, outputs, targets = [], [], []
    handle = model.get_submodule(name).register_forward_pre_hook(look, with_kwargs=True)
    try:
        with applied(model, weights), torch.no_grad():
            for inputs, truth in walk(batches):
                given.clear()
                made = logits(forward(model, inputs))
                if len(given) != 1 or len(given[0]) != examples(inputs):
                    raise ValueError(
                        f"module {name!r} ran {len(given)} times for one batch; features need one that runs once, with "
                        "all examples: name it as at="
                    )
                found.append(given[0])
                outputs.append(made.double().cpu())
                targets.append(truth.cpu())
    finally:
        handle.remove()
    together = torch.cat(found)
    if not bool(together.isfinite().all()):
        raise ValueError(f"the features before {name!r} are not finite in some examples; are the weights sound?")
    return Features(together, torch.cat(outputs), torch.cat(targets))


def _flat(name: str, seen: Tensor) -> Tensor:
    """Give [B, D] in float64 on the CPU, copied."""
    if seen.ndim == 4:
        seen = seen.double().mean((2, 3))
    if seen.ndim != 2:
        raise ValueError(
            f"what {name!r} is given is {list(seen.shape)}, and features are [B, D]; pass reduce= to make them so, for "
            "example the mean over tokens, or name another module as at="
        )
    return seen.detach().to("cpu", torch.float64, copy=True)
