"""Which named units does a network have, and in which order?

A module is what people name in a figure: `conv1`, `layer1.0`, …, `fc`. Here it is only names: its own, those of its
parameters and of its buffers. Where the order comes from (running the network once) is not this room's business.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Module:
    """A named unit of a network.

    Attributes:
        name: path of the submodule whose output is the output of the unit, as in `named_modules`.
        parameters: names of the parameters that belong to it.
        buffers: names of its buffers (BatchNorm's running statistics), which move with it.
    """

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()
