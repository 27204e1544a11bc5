"""How is a step made of one of the study's functions, and in which order do steps go?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bequest.study.functions import FUNCTIONS
from bequest.study.step import Step


def make(
    function: str,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Step],
    label: str,
    cost: float,
    places: Mapping[str, str] | None = None,
    learned: float = 0.0,
) -> Step:
    """Make a step of one of the study's functions.

    Args:
        function: a name in the table of functions.
        arguments: plain JSON values.
        inputs: the steps whose results it reads.
        label: what people see.
        cost: images through the network; three for one that is learned from.
        places: where things are; no part of the step's key.
        learned: images that are learned from, each three of the cost.

    Returns:
        The step, with the function's version.
    """
    known = FUNCTIONS[function]
    return Step(function, known.version, arguments, inputs, places or {}, label, cost, known.tolerant, learned)


def in_order(ends: Iterable[Step]) -> list[Step]:
    """Give the steps that these steps need, and these, each once, each after its inputs."""
    found: dict[str, Step] = {}

    def visit(step: Step) -> None:
        if step.key not in found:
            for needed in step.inputs.values():
                visit(needed)
            found[step.key] = step

    for step in ends:
        visit(step)
    return list(found.values())
