"""What is a step, and what makes two steps the same?

A step is a function with its arguments and inputs. Its key is a hash of the function's name and version, the arguments
and the keys of its inputs: the same work has the same key wherever and whenever it is done. Machine, device, workers
and paths are not part of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bequest.study.resources import Kind

if TYPE_CHECKING:
    from bequest.study.store import Artefact


@dataclass(frozen=True)
class Context:
    """What a step may use that has no influence on its result.

    Attributes:
        device: where tensors live: `cpu`, `cuda`, `cuda:1`.
        workers: threads for reading and drawing images.
        tell: takes the share of the step that is done, 0..1.
        events: the folder for TensorBoard's event files: of all steps, and in the context of one step its own.
        devices: that carry a step out together, of a function that can be; above 1 the device is `cpu` or `cuda`.
    """

    device: str = "cpu"
    workers: int = 2
    tell: Callable[[float], None] = lambda share: None
    events: Path | None = None
    devices: int = 1

    def of(self, step: Step, tell: Callable[[float], None]) -> Context:
        """Give the context of one step: told by `tell`, with a folder for event files whose name can be read."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", " ", step.label).strip(" .")[:80]
        events = self.events and self.events / f"{plain} {step.key[-8:]}"
        return replace(self, tell=tell, events=events)


Run = Callable[[Path, Mapping[str, Any], Mapping[str, "Artefact"], Context], None]


@dataclass(frozen=True)
class Function:
    """The function of a step.

    Attributes:
        run: takes the folder to write into, the arguments, the inputs and the context.
        version: raised whenever the result for the same arguments changes.
        tolerant: prefixes of the names of inputs that may have failed, as long as one with the first prefix is there
            (`""` stands for all, and then none has to be there); empty if every input is needed.
        kind: which part of the study's `resources` says what it asks of a cluster.
        splits: whether several devices can carry it out together (`resources.training.devices`).
    """

    run: Run
    version: int = 1
    tolerant: tuple[str, ...] = ()
    kind: Kind = "analyses"
    splits: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """One piece of work of a plan.

    Attributes:
        function: a name in the table of functions.
        version: the version of that function.
        arguments: plain JSON values.
        places: further arguments that say where things are; the function gets them, the key does not.
        inputs: the steps whose results it reads, by the name under which it reads them.
        label: what people see; not part of the key.
        cost: expected work in images through the network; for the estimate of the time left.
        learned: images that are learned from; each is three of the cost.
        tolerant: see `Function`.
    """

    function: str
    version: int
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Step] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    cost: float = 1.0
    tolerant: tuple[str, ...] = ()
    learned: float = 0.0

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the result depends on, as JSON values."""
        return {
            "function": self.function,
            "version": self.version,
            "arguments": dict(self.arguments),
            "inputs": {name: step.key for name, step in self.inputs.items()},
        }

    @cached_property
    def key(self) -> str:
        """Name of the result's folder: the function and 24 hexadecimal digits of the hash of the identity."""
        return key_of(self.identity)

    def alone(self) -> Step:
        """Give the same step, with the same key, whose inputs know their key and label alone: small enough to send."""
        inputs = {}
        for name, needed in self.inputs.items():
            inputs[name] = Step(needed.function, needed.version, {}, label=needed.label)
            vars(inputs[name])["key"] = needed.key  # where the cached property looks first
        return replace(self, inputs=inputs)


def key_of(identity: Mapping[str, Any]) -> str:
    """Give the key of an identity; what is read from JSON has that of what was written.

    Args:
        identity: see `Step.identity`; further entries do not count.

    Returns:
        See `Step.key`.

    Raises:
        KeyError: if it lacks an entry.
        ValueError: if it holds a number that is not finite.
    """
    counts = {name: identity[name] for name in ("function", "version", "arguments", "inputs")}
    text = json.dumps(counts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{identity['function']}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
