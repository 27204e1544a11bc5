"""What was done to open a model: whose weights, which head, what was left out?"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Opening:
    """How `open_model` came to a model.

    Attributes:
        name: what it was opened by.
        classes: the number that was asked for; None for the model's own.
        seed: of all weights that were drawn.
        weights: where they came from, `drawn` if from nowhere.
        head: path of the head; "" if the model has no layer that could be one.
        head_drawn: whether the head is a fresh one, not that of the weights.
        left_out: names in the weights that the model has no use for (another task's head).
    """

    name: str
    classes: int | None
    seed: int
    weights: str
    head: str
    head_drawn: bool
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The same for a closing note."""
        said = f"{self.name}, weights {self.weights}"
        if self.head_drawn:
            classes = f" for {self.classes} classes" if self.classes is not None else ""
            said += f", head {self.head or '(none)'} drawn{classes} with seed {self.seed}"
        if self.left_out:
            shown = ", ".join(self.left_out[:3]) + (", …" if len(self.left_out) > 3 else "")
            said += f", {len(self.left_out)} tensors of the file not used ({shown})"
        return said


_openings: weakref.WeakKeyDictionary[nn.Module, Opening] = weakref.WeakKeyDictionary()


def note(model: nn.Module, opening: Opening) -> None:
    """Remember how a model was opened, for as long as it lives."""
    _openings[model] = opening


def opening_of(model: nn.Module) -> Opening | None:
    """Tell how `open_model` came to this model; None if it did not, or for a copy."""
    return _openings.get(model)
