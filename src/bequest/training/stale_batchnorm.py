"""Is a training too short for BatchNorm's running statistics?

In evaluation BatchNorm uses a running mean and variance that start at 0 and 1 and forget that as (1 - momentum)^steps.
Networks from TensorFlow often have a momentum of 0.01: after sixty steps more than half of the start is left, and a
network that learned well is measured at chance. Pre-trained networks start from statistics that are worth something,
so an arm that starts from random weights looks worse than it is.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

TOO_MUCH = 0.05  # of the start
_said: set[str] = set()


def start_left(model: nn.Module, steps: int, learns: Sequence[str] = ("",)) -> tuple[float, str]:
    """Work out how much of BatchNorm's fresh running statistics will be left after a training.

    Args:
        model: before it is trained.
        steps: batches that it will be trained on.
        learns: paths of the modules that learn; statistics elsewhere are frozen on purpose.

    Returns:
        The largest share, 0 to 1, and the module's name, of the modules that have seen nothing yet; 0 and an empty name
        where there is none. A cumulative average (momentum None) leaves nothing after one step.
    """
    shares = [
        ((1 - module.momentum) ** steps, name)
        for name, module in model.named_modules()
        if any(not path or name == path or name.startswith(f"{path}.") for path in learns)
        and isinstance(module, _BatchNorm)
        and module.momentum is not None
        and _is_fresh(module)
    ]
    return max(shares, default=(0.0, ""))


def _is_fresh(module: _BatchNorm) -> bool:
    mean, variance = module.running_mean, module.running_var
    return mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())


def tell_if_stale(model: nn.Module, steps: int, learns: Sequence[str] = ("",)) -> None:
    """Say once in the log that the start weighs too much, and what can be done."""
    share, name = start_left(model, steps, learns)
    if share <= TOO_MUCH:
        return
    text = (
        f"after {steps} steps from random weights BatchNorm's running statistics are still {share:.0%} their start "
        f"(momentum {model.get_submodule(name).momentum:.3g} in {name}), so the model is measured as worse than it is: "
        "train for more steps, or give it a larger momentum"
    )
    if text not in _said:
        _said.add(text)
        logging.getLogger("bequest").warning(text)
