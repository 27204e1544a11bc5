"""How is a network trained cheaply when some of its modules stay as they are?

What stays needs no gradients, and neither does anything before the first module that learns: autograd keeps nothing of
it. What a frozen beginning gives for an example is the same in every epoch, so it can be worked out once and kept, and
the training then runs from the first learning module on. `Fed` is the network as a module whose inputs are that.

Kept outputs are those that `Replay` finds to be read later, and checks. Nothing is kept where it would not fit into the
bytes that are allowed, or where the network does not allow a replay. Images that are augmented are new every time: for
them nothing may be kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from bequest.evaluation.applied import evaluating
from bequest.evaluation.batches import Batches, Inputs, examples, walk
from bequest.evaluation.keeping import stand_in
from bequest.evaluation.replay import Prefix, Replay
from bequest.training.examples import Content, named_inputs
from bequest.weights.modules import Module

OWN = "network."  # what `Fed` puts before the names of tensors
_CALL = "call_"


class Fed(nn.Module):
    """A network as a function of keyword inputs: its own, and what its frozen beginning gave.

    Attributes:
        network: the network itself; its tensors are `network.NAME` here.
        start: where it goes on from kept outputs, once they are made.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.start: Start | None = None

    def forward(self, *alone: Any, **given: Any) -> Any:
        """Run the network; from its first learning module on where kept outputs are given."""
        if alone:
            return self.network(*alone)
        if self.start is not None and any(name.startswith(_CALL) for name in given):
            return self.start.go(given)
        return self.network(given["inputs"]) if given.keys() == {"inputs"} else self.network(**given)


@dataclass(frozen=True)
class Start:
    """Where a network goes on from kept outputs.

    Attributes:
        replay: of the fed network.
        unit: name of the first module that learns.
        unread: outputs that nothing reads later, as stand-ins of one example, by number of the call.
        kept: numbers of the calls whose outputs were kept.
    """

    replay: Replay
    unit: str
    unread: Mapping[int, Tensor] = field(repr=False)
    kept: tuple[int, ...] = ()

    def go(self, given: Mapping[str, Tensor]) -> Any:
        """Run from the first learning module on."""
        inputs: Inputs = {name: value for name, value in given.items() if not name.startswith(_CALL)}
        count = examples(inputs)
        values = {number: value.expand(count, *value.shape[1:]) for number, value in self.unread.items()}
        values |= {number: given[f"{_CALL}{number}"] for number in self.kept}
        return self.replay.run(Prefix(inputs, torch.empty(0), self.unit, values))


def keep_outputs(
    fed: Fed, units: Sequence[Module], frozen: Collection[str], sets: Sequence[Batches], *, most: int
) -> list[Content] | None:
    """Work out once what the frozen beginning of a network gives for all examples.

    Args:
        fed: the network as it starts; its `start` is set where outputs are kept.
        units: modules of the network inside, in order of execution.
        frozen: names of those that stay.
        sets: batches of each set of examples, the same on every walk.
        most: bytes that may be kept, of all sets together, inputs counted.

    Returns:
        For each set what `fed` takes; None where there is no frozen beginning, or nothing can be kept.
    """
    first = next((unit for unit in units if unit.name not in frozen), None)
    if first is None or first is units[0]:
        return None
    unit = replace(
        first,
        name=f"{OWN}{first.name}",
        parameters=tuple(f"{OWN}{name}" for name in first.parameters),
        buffers=tuple(f"{OWN}{name}" for name in first.buffers),
    )
    with evaluating(fed):
        replay = Replay(fed, [unit], sets[0])
        if replay.whole:
            return None
        start: Start | None = None
        found: list[Content] = []
        for batches in sets:
            parts: list[Content] = []
            for inputs, targets in walk(batches):
                values = replay.advance(Prefix(inputs, targets), unit.name).values
                if not all(_by_example(value, examples(inputs)) for value in values.values()):
                    return None
                if start is None:
                    unread = {number: stand_in(value[:1]) for number, value in values.items() if _stands_in(value)}
                    start = Start(replay, unit.name, unread, tuple(values.keys() - unread.keys()))
                here = named_inputs(inputs) | {f"{_CALL}{number}": values[number] for number in start.kept}
                most -= sum(tensor.nbytes for tensor in here.values())
                if most < 0:
                    return None
                parts.append(({name: tensor.cpu() for name, tensor in here.items()}, targets.cpu()))
            found.append(_joined(parts))
    fed.start = start
    return found


def learning_paths(network: nn.Module, learning: Collection[str]) -> tuple[str, ...]:
    """Find the submodules all of whose parameters learn.

    Args:
        network: any network.
        learning: names of the parameters that learn.

    Returns:
        Paths of the largest such submodules. A parameter that a module with frozen parts has of its own is in none of
        them, so it stays as it is.
    """

    def within(path: str, module: nn.Module) -> Iterator[str]:
        names = [name for name, _ in module.named_parameters(path, remove_duplicate=False)]
        if names and all(name in learning for name in names):
            yield path
        elif names:
            for key, child in module.named_children():
                yield from within(f"{path}.{key}" if path else key, child)

    return tuple(within("", network))


def _joined(parts: Sequence[Content]) -> Content:
    inputs = {name: torch.cat([given[name] for given, _ in parts]) for name in parts[0][0]}
    return inputs, torch.cat([targets for _, targets in parts])


def _by_example(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == count


def _stands_in(value: Tensor) -> bool:
    """Tell whether this is a tensor that `Replay` put in the place of one that is never read."""
    return value.numel() > 0 and set(value.stride()) == {0} and bool(value.flatten()[:1].isnan().any())
